"""Gradient matching beside the Adversarial Robustness Toolbox: the cosine distance that both reach,
and CPU-seconds.

    pip install -e '.[bench]' && python -m benchmarks.gradient_matching

The network is trained first and kept under ``samples/benchmarks/``. Writes
``benchmarks/gradient_matching.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.data.image_set import Images
from advlab.poisoning.gradient_matching import matched
from advlab.runs.machine import Machine
from benchmarks import _timing, _victims

_EPS, _POISON = 0.1, 60
_SCHEDULE = ([1e-1, 1e-2, 1e-3, 1e-4], [100, 150, 200, 220])  # its own for 250 steps


def distance(network: nn.Module, poison: Tensor, labels: Tensor, aimed: Tensor, to: int) -> float:
    """1 less the cosine between the gradient of the poison and that of the mistake, written out."""
    network.requires_grad_()
    weights = list(network.parameters())

    def gradient(images: Tensor, classes: Tensor) -> Tensor:
        loss = functional.cross_entropy(network(images), classes)
        return torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, weights)])

    wanted = gradient(aimed, torch.tensor([to]))
    return 1 - float(functional.cosine_similarity(gradient(poison, labels), wanted, dim=0))


def theirs(network: nn.Module, poison: Images, aimed: Tensor, to: int, steps: int) -> Tensor:
    """The toolbox's poison of the same images, (N, C, H, W)."""
    from art.attacks.poisoning import GradientMatchingAttack
    from art.estimators.classification import PyTorchClassifier

    np.random.seed(0)  # noqa: NPY002: the toolbox draws from this generator
    torch.manual_seed(0)
    network.requires_grad_()
    shape = tuple(poison.pixels.shape[1:])
    victim = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), shape, 10, clip_values=(0, 1), device_type="cpu"
    )
    scaled = [round(end * steps / 250) for end in _SCHEDULE[1]]
    attack = GradientMatchingAttack(
        victim,
        1.0,
        epsilon=_EPS,
        max_trials=1,
        max_epochs=steps,
        learning_rate_schedule=(_SCHEDULE[0], scaled),
        batch_size=_POISON,
        verbose=0,
    )
    pixels = poison.inputs(slice(None)).numpy()
    made, _ = attack.poison(aimed.numpy(), np.array([to]), pixels, poison.labels.numpy())
    return torch.as_tensor(made)


def ours(network: nn.Module, poison: Images, aimed: Images, to: int, steps: int) -> Tensor:
    """This project's, rounded to 8 bits."""
    found = matched(
        network,
        poison,
        aimed,
        to,
        eps=_EPS,
        steps=steps,
        restarts=1,
        machine=Machine(torch.device("cpu"), "fp32"),
        seed=0,
    )
    return found.pixels.float() / 255


def main() -> None:
    """Aim at some test images and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--out", default="samples/benchmarks", help="where the network is kept")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--images", type=int, default=5, help="test images to aim at")
    parser.add_argument("--table", default="benchmarks/gradient_matching.md")
    given = parser.parse_args()
    data = _victims.images(given.data_dir)
    network = _victims.weak(data, Path(given.out))
    torch.set_num_threads(1)
    rows = []
    for number in range(given.images):
        aimed = data.test.select(torch.tensor([number]))
        to = (int(aimed.labels) + 1 + number) % len(data.classes)
        chosen = (data.train.labels == to).nonzero().squeeze(1)[:_POISON]
        poison, target = data.train.select(chosen), aimed.inputs(slice(None))
        sides = {
            "advlab": lambda: ours(network, poison, aimed, to, given.steps),  # noqa: B023
            "ART": lambda: theirs(network, poison, target, to, given.steps),  # noqa: B023
        }
        timings = _timing.in_turns(sides, 1, f"test image {number}")
        made = [poison.inputs(slice(None)), *(timing.result for timing in timings.values())]
        reached = [f"{distance(network, x, poison.labels, target, to):.3f}" for x in made]
        seconds = [f"{timing.median:.1f}" for timing in timings.values()]
        rows.append([f"no. {number}: {int(aimed.labels)} → {to}", *reached, *seconds])
        print(" | ".join(rows[-1]), flush=True)
    text = [
        "Cosine distance between the gradient of the poison and that of the mistake, and "
        f"CPU-seconds: {_POISON} training images of the target class, L∞ radius {_EPS:g}, "
        f"{given.steps} steps, one random start. The poison of advlab is rounded to 8 bits, that "
        "of the other tool is not. Its schedule of learning rates is its own, scaled to the steps.",
        f"{data.origin}; network: `advlab train cnn` after three epochs. {_timing.machine()}; "
        f"{_timing.versions(('torch', 'adversarial-robustness-toolbox'))}.",
        "Written by `python -m benchmarks.gradient_matching`.",
    ]
    header = ["test image, target", "no attack", "advlab", "ART", "s, advlab", "s, ART"]
    title = "Gradient matching compared with the Adversarial Robustness Toolbox"
    _timing.write(Path(given.table), title, text, header, rows)


if __name__ == "__main__":
    main()
