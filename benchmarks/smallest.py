"""Attacks for the smallest perturbation beside foolbox and torchattacks: CPU-seconds, success and
median norm.

    pip install -e '.[bench]' && python -m benchmarks.smallest

The network is trained first and kept under ``samples/benchmarks/``. Writes
``benchmarks/smallest.md``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advlab.components import load_component
from advlab.config.radii import norm_name
from advlab.data.image_set import ImageSet
from advlab.metrics.classification import is_correct
from advlab.perturbation.geometry import P, norm
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.runs.table import counted
from benchmarks import _timing, _victims

PEERS = ("torchattacks", "foolbox")
ANY_NORM = 1e4  # a radius that no perturbation reaches
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        attack: name of the attack.
        norm: in which the smallest perturbation is looked for.
        peer: the other tool.
        theirs: from network, images, labels to the images that the other tool makes.
        options: of our attack.
        budget: what both sides may spend, in words.
        images: how many are attacked.
    """

    attack: str
    norm: str
    peer: str
    theirs: Callable[[nn.Module, Tensor, Tensor], Tensor]
    options: dict[str, Any]
    budget: str
    images: int = field(default=100)


def _foolbox(module: str, name: str, **settings: Any) -> Callable[..., Tensor]:
    """An attack of foolbox without a limit on the norm; images without a success come back as they
    were."""

    def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        from importlib import import_module

        from foolbox.criteria import Misclassification
        from foolbox.models.pytorch import PyTorchModel

        attack = getattr(import_module(f"foolbox.attacks.{module}"), name)(**settings)
        network = PyTorchModel(model, bounds=(0, 1), device="cpu")
        made: Tensor = attack.run(network, images, Misclassification(labels))
        return made

    return run


def _torchattacks(name: str, **settings: Any) -> Callable[..., Tensor]:
    def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        import torchattacks

        made: Tensor = getattr(torchattacks, name)(model, **settings)(images, labels)
        return made

    return run


CASES = [
    Case(
        "deepfool",
        "l2",
        "foolbox",
        _foolbox("deepfool", "L2DeepFoolAttack", steps=50),
        {"steps": 50},
        "50 steps",
    ),
    Case(
        "deepfool",
        "linf",
        "foolbox",
        _foolbox("deepfool", "LinfDeepFoolAttack", steps=50),
        {"steps": 50},
        "50 steps",
    ),
    Case(
        "ddn",
        "l2",
        "foolbox",
        _foolbox("ddn", "DDNAttack", steps=100),
        {"steps": 100},
        "100 steps",
    ),
    *(
        Case(
            "fmn",
            which,
            "foolbox",
            _foolbox("fast_minimum_norm", f"{name}FMNAttack", steps=100),
            {"steps": 100},
            "100 steps",
        )
        for which, name in (("linf", "LInf"), ("l2", "L2"), ("l1", "L1"), ("l0", "L0"))
    ),
    *(
        Case(
            "bb",
            which,
            "foolbox",
            _foolbox("brendel_bethge", f"{name}BrendelBethgeAttack", steps=100),
            {"steps": 100},
            "100 steps",
            images=40,
        )
        for which, name in (("linf", "Linfinity"), ("l2", "L2"), ("l0", "L0"))
    ),
    Case(
        "cw",
        "l2",
        "foolbox",
        _foolbox(
            "carlini_wagner",
            "L2CarliniWagnerAttack",
            steps=100,
            stepsize=0.05,
            binary_search_steps=6,
            abort_early=False,
        ),
        {"steps": 100, "lr": 0.05, "search_steps": 6},
        "6 × 100 steps",
        images=40,
    ),
    Case(
        "ead",
        "l1",
        "foolbox",
        _foolbox(
            "ead",
            "EADAttack",
            steps=100,
            binary_search_steps=5,
            decision_rule="L1",
            abort_early=False,
        ),
        {"steps": 100, "search_steps": 5},
        "5 × 100 steps",
        images=40,
    ),
    Case(
        "onepixel",
        "l0",
        "torchattacks",
        _torchattacks("OnePixel", pixels=5, steps=9, popsize=30),
        {"eps": [5.0], "queries": 300},
        "5 pixels, 300 queries",
        images=40,
    ),
]


def ours(model: nn.Module, case: Case, images: Tensor, labels: Tensor) -> Run:
    """This project's attack, in float32."""
    attack = load_component("advlab.attacks", case.attack, "attack")
    options = attack.Options.model_validate({"norm": case.norm, **case.options})
    eps = case.options.get("eps", [ANY_NORM])[0]

    def run() -> Tensor:
        random = ImageRandom(0, torch.arange(len(images)))
        made: Tensor = attack.perturb(Victim(model), images, Goal(labels), random, eps, options)
        return made

    return run


def peers(model: nn.Module, case: Case, images: Tensor, labels: Tensor) -> Run:
    """The other tool's attack."""

    def run() -> Tensor:
        torch.manual_seed(0)
        return case.theirs(model, images, labels)

    return run


def norms(model: nn.Module, which: str, made: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """Norms of the perturbations (N,); infinite where the network still has the image right."""
    with torch.inference_mode():
        broken = ~is_correct(model(made), labels)
    return norm(made - images, P[which]).where(broken, math.inf)


def _row(case: Case, model: nn.Module, data: ImageSet, turns: int) -> list[str]:
    images, labels = data.test.inputs(slice(0, 2 * case.images)), data.test.labels
    with torch.inference_mode():
        right = is_correct(model(images), labels[: len(images)]).nonzero()[: case.images, 0]
    images, labels = images[right], labels[right]
    timings = _timing.in_turns(
        {
            "advlab": ours(model, case, images, labels),
            case.peer: peers(model, case, images, labels),
        },
        turns,
        f"{case.attack}, {norm_name(case.norm)}",
    )
    cells, distances = [], []
    for timing in timings.values():
        distance = norms(model, case.norm, timing.result, images, labels)
        distances.append(distance)
        broken, median = int(distance.isfinite().sum()), float(distance.median())
        middle = f"{median:.4g}" if math.isfinite(median) else "none"
        cells.append(f"{timing.shown()} / {broken} / {middle}")
    both = distances[0].isfinite() & distances[1].isfinite()
    ratios = (distances[0] / distances[1])[both]
    nearer = f"{float(ratios.log().mean().exp()):.3f}" if len(ratios) else "–"
    return [
        f"{case.attack}, {norm_name(case.norm)}",
        case.budget,
        str(len(images)),
        cells[0],
        f"{cells[1]} ({case.peer})",
        nearer,
        f"{_timing.ratio(timings['advlab'], timings[case.peer]):.1f} ×",
    ]


def main() -> None:
    """Run every case and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--out", default="samples/benchmarks", help="where the network is kept")
    parser.add_argument(
        "--turns",
        type=int,
        default=3,
        help="how often each side runs, after one turn of warming up",
    )
    parser.add_argument("--table", default="benchmarks/smallest.md")
    given = parser.parse_args()
    data = _victims.images(given.data_dir)
    model = _victims.weak(data, Path(given.out))
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        rows.append(_row(case, model, data, given.turns))
        print(" | ".join(rows[-1]), flush=True)
    text = [
        f"Each side: CPU-seconds (median of {counted(given.turns, 'repetition')}, lowest to "
        "highest) / images broken / median norm of the smallest perturbation, an image that was "
        "not broken being infinitely far. Whether an "
        "image is broken is decided in float32 in the same way for both. Steps, step sizes and "
        "searches are equal.",
        f"{data.origin}; the first test images that the network classifies correctly. "
        f"{_timing.machine()}; {_timing.versions(('torch', *PEERS))}.",
        "Written by `python -m benchmarks.smallest`. Target model: `advlab train cnn` after three "
        "epochs. Norm: that of advlab divided by the other's, image by image where both broke it, "
        "as a geometric mean; below 1 where advlab is nearer. "
        "Time: seconds of the other divided by those of advlab, above 1 where advlab is faster.",
    ]
    header = ["attack", "budget", "images", "advlab", "other tool", "norm", "time"]
    _timing.write(
        Path(given.table), "Smallest perturbations compared with other tools", text, header, rows
    )


if __name__ == "__main__":
    main()
