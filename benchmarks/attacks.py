"""PGD and FGSM beside torchattacks, foolbox and ART: the same victim, images and steps, CPU-seconds
and robust accuracy.

    pip install -e '.[bench]' && python -m benchmarks.attacks

The victims are trained first and kept under ``samples/benchmarks/``. Writes
``benchmarks/attacks.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advlab.attacks import fgsm, pgd
from advlab.data.image_set import ImageSet
from advlab.metrics.classification import accuracy
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.runs.machine import prepare
from benchmarks import _timing, _victims

PEERS = ("torchattacks", "foolbox", "adversarial-robustness-toolbox")
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """One row of the table: an attack on some images of one victim.

    Attributes:
        steps: 0 for FGSM.
        batch: the peers' batch size; ours is the attack's default.
        defaults: whether our ``pgd`` runs with its default settings, not with the peers' steps.
    """

    name: str
    victim: str
    norm: str
    eps: float
    steps: int
    step_size: float
    images: int
    batch: int
    defaults: bool = False


CASES = [
    Case("FGSM", "robust", "linf", 0.1, 0, 0.0, 1000, 1000),
    Case("PGD 40 × 0.01", "robust", "linf", 0.3, 40, 0.01, 1000, 1000),
    Case("PGD 40 × 0.125", "robust", "l2", 2.0, 40, 0.125, 512, 256),
    Case(
        "PGD 40 × 0.01, defaults of advlab",
        "robust",
        "linf",
        0.3,
        40,
        0.01,
        1000,
        1000,
        defaults=True,
    ),
    Case("FGSM", "weak", "linf", 0.1, 0, 0.0, 1000, 1000),
    Case("PGD 40 × 0.01", "weak", "linf", 0.1, 40, 0.01, 512, 64),
    Case("PGD 40 × 0.01", "weak", "linf", 0.3, 40, 0.01, 512, 64),
    Case(
        "PGD 40 × 0.01, defaults of advlab",
        "weak",
        "linf",
        0.1,
        40,
        0.01,
        512,
        64,
        defaults=True,
    ),
]


def ours(model: nn.Module, case: Case, images: Tensor, labels: Tensor) -> Run:
    """This project's attack, in its own batch size and otherwise with the peers' settings or its
    defaults."""
    machine = prepare(pgd.Options())
    common: dict[str, Any] = {"norm": case.norm}
    if not case.defaults:
        common |= {
            "steps": case.steps,
            "step_size": case.step_size,
            "step_schedule": "constant",
            "step_momentum": 0,
        }

    def run() -> Tensor:
        victim = Victim(model, machine if case.steps else None)

        def part(index: Tensor) -> Tensor:
            batch, goal, random = images[index], Goal(labels[index]), ImageRandom(0, index)
            if case.steps == 0:
                return fgsm.perturb(
                    victim,
                    batch,
                    goal,
                    random,
                    case.eps,
                    fgsm.Options.model_validate({"norm": case.norm}),
                )
            return pgd.perturb(
                victim, batch, goal, random, case.eps, pgd.Options.model_validate(common)
            )

        return torch.cat(
            [part(index) for index in torch.arange(len(images)).split(pgd.Options().batch_size)]
        )

    return run


def torchattacks_(model: nn.Module, case: Case, images: Tensor, labels: Tensor) -> Run:
    """The attack of torchattacks."""
    import torchattacks

    def run() -> Tensor:
        torch.manual_seed(0)
        if case.steps == 0:
            attack = torchattacks.FGSM(model, eps=case.eps)
        elif case.norm == "linf":
            attack = torchattacks.PGD(
                model, eps=case.eps, alpha=case.step_size, steps=case.steps, random_start=True
            )
        else:
            attack = torchattacks.PGDL2(
                model, eps=case.eps, alpha=case.step_size, steps=case.steps, random_start=True
            )
        pairs = zip(images.split(case.batch), labels.split(case.batch), strict=True)
        return torch.cat([attack(*pair) for pair in pairs])

    return run


def foolbox_(model: nn.Module, case: Case, images: Tensor, labels: Tensor) -> Run:
    """The attack of foolbox."""
    from foolbox.attacks.fast_gradient_method import LinfFastGradientAttack
    from foolbox.attacks.projected_gradient_descent import (
        L2ProjectedGradientDescentAttack,
        LinfProjectedGradientDescentAttack,
    )
    from foolbox.models.pytorch import PyTorchModel

    def run() -> Tensor:
        torch.manual_seed(0)
        network = PyTorchModel(model, bounds=(0, 1))
        if case.steps == 0:
            attack: Any = LinfFastGradientAttack(random_start=False)
        else:
            kind = (
                LinfProjectedGradientDescentAttack
                if case.norm == "linf"
                else L2ProjectedGradientDescentAttack
            )
            attack = kind(abs_stepsize=case.step_size, steps=case.steps, random_start=True)
        pairs = zip(images.split(case.batch), labels.split(case.batch), strict=True)
        return torch.cat(
            [attack.run(network, batch, truth, epsilon=case.eps) for batch, truth in pairs]
        )

    return run


def art_(model: nn.Module, case: Case, images: Tensor, labels: Tensor) -> Run:
    """The attack of the Adversarial Robustness Toolbox."""
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    def run() -> Tensor:
        torch.manual_seed(0)
        np.random.seed(0)  # the stream that it draws from
        network = PyTorchClassifier(
            model,
            nn.CrossEntropyLoss(),
            tuple(images.shape[1:]),
            10,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        norm = np.inf if case.norm == "linf" else 2
        if case.steps == 0:
            attack = FastGradientMethod(network, norm=norm, eps=case.eps, batch_size=case.batch)
        else:
            attack = ProjectedGradientDescentPyTorch(
                network,
                norm=norm,
                eps=case.eps,
                eps_step=case.step_size,
                max_iter=case.steps,
                num_random_init=1,
                batch_size=case.batch,
                verbose=False,
            )
        return torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))

    return run


CONTENDERS = {"advlab": ours, "torchattacks": torchattacks_, "foolbox": foolbox_, "ART": art_}


def main() -> None:
    """Run every case and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--out", default="samples/benchmarks", help="where the victims are kept")
    parser.add_argument(
        "--turns",
        type=int,
        default=5,
        help="how often each contender runs, after one turn of warming up",
    )
    parser.add_argument("--table", default="benchmarks/attacks.md")
    parser.add_argument(
        "--case",
        type=int,
        nargs="*",
        help="numbers of the cases to run, all of them where not given",
    )
    given = parser.parse_args()
    data = _victims.images(given.data_dir)
    victims = {name: getattr(_victims, name)(data, Path(given.out)) for name in ("robust", "weak")}
    torch.set_num_threads(1)
    rows = []
    for number, case in enumerate(CASES):
        if given.case is None or number in given.case:
            rows.append(
                _row(
                    replace(case, images=min(case.images, len(data.test))),
                    victims[case.victim],
                    data,
                    given.turns,
                )
            )
            print(" | ".join(rows[-1]), flush=True)
    about = [
        f"CPU-seconds (median of {given.turns} repetitions, lowest to highest) and robust",
        "accuracy, which is decided in float32 in the same way for all tools.",
    ]
    text = [
        " ".join(about),
        f"{data.origin}; the first test images. {_timing.machine()}; "
        f"{_timing.versions(('torch', *PEERS))}.",
        "Written by `python -m benchmarks.attacks`. Target models: `weak` is `advlab train cnn` "
        "after three epochs, and `robust` is the network of Madry et al. (arXiv:1706.06083) after "
        "six epochs on PGD images. Ratio: the seconds of the fastest other tool divided by those "
        "of advlab.",
    ]
    header = ["attack", "target", "images @ batch", *CONTENDERS, "ratio"]
    _timing.write(Path(given.table), "Attacks compared with other tools", text, header, rows)


def _row(case: Case, model: nn.Module, data: ImageSet, turns: int) -> list[str]:
    test = data.test
    images, labels = test.inputs(slice(0, case.images)), test.labels[: case.images]
    timings = _timing.in_turns(
        {name: contender(model, case, images, labels) for name, contender in CONTENDERS.items()},
        turns,
        f"{case.name}, {case.victim}",
    )
    cells = []
    for timing in timings.values():
        with torch.inference_mode():
            share = accuracy(model(timing.result), labels)
        assert (
            float(
                (timing.result - images)
                .flatten(1)
                .norm(p=2 if case.norm == "l2" else torch.inf, dim=1)
                .max()
            )
            <= case.eps + 1e-4
        )
        cells.append(f"{timing.shown()} / {100 * share:.1f} %")
    ratios = {
        name: _timing.ratio(timings["advlab"], timing)
        for name, timing in timings.items()
        if name != "advlab"
    }
    fastest = min(ratios, key=lambda name: ratios[name])
    what = f"{case.name}, {'L2' if case.norm == 'l2' else 'L∞'} {case.eps:g}"
    return [
        what,
        case.victim,
        f"{case.images} @ {case.batch}",
        *cells,
        f"{ratios[fastest]:.1f} × ({fastest})",
    ]


if __name__ == "__main__":
    main()
