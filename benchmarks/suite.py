"""The suite of attacks beside torchattacks': the same victim, images, steps and queries,
CPU-seconds and what is left.

    pip install -e '.[bench]' && python -m benchmarks.suite --checkpoint samples/defend/NAME --eps
    0.3

Each attack is given what the ones before it have left. Writes ``benchmarks/suite.md``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torchattacks
from torch import Tensor, nn

from advlab.components import load_component
from advlab.config.options.run import AttackOptions, DataOptions, TrainOptions
from advlab.data import load_images as datasets
from advlab.data.image_set import Images
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.sweep import Tasks, sweep
from advlab.perturbation.victim import Victim
from advlab.runs.machine import prepare
from advlab.runs.table import percent
from benchmarks import _timing

Rows = list[tuple[str, float, int]]  # attack, CPU-seconds, images left


def ours(network: nn.Module, images: Images, eps: float, steps: int, queries: int) -> Rows:
    """The four attacks as ``advlab evaluate`` runs them, with gradients in the arithmetic that
    ``auto`` chooses."""
    victim = Victim(network, prepare(TrainOptions(threads=1)))
    settings: list[tuple[str, str, dict[str, object]]] = [
        ("APGD-CE", "apgd", {"steps": steps}),
        ("APGD-T", "apgd", {"steps": steps, "loss": "dlr", "target_classes": 9}),
        ("FAB-T", "fab", {"steps": steps, "target_classes": 9}),
        ("Square", "square", {"queries": queries}),
    ]
    left, rows = (
        _right(network, images, images.inputs(slice(None)), torch.arange(len(images))),
        Rows(),
    )
    for label, name, given in settings:
        module = load_component("advlab.attacks", name, "attack")
        options: AttackOptions = module.Options(eps=[eps], **given)
        started = time.process_time()
        (point,) = sweep(
            module.perturb,
            victim,
            Tasks(images, left, images.labels[left], targeted=False),
            options,
        )
        seconds = time.process_time() - started
        left = left[~point.reached]
        rows.append((label, seconds, len(left)))
    return rows


def theirs(network: nn.Module, images: Images, eps: float, steps: int, queries: int) -> Rows:
    """The same four of torchattacks, each on what is left."""
    attacks = {
        "APGD-CE": torchattacks.APGD(network, eps=eps, steps=steps),
        "APGD-T": torchattacks.APGDT(network, eps=eps, steps=steps, n_classes=10),
        "FAB-T": torchattacks.FAB(network, eps=eps, steps=steps, n_classes=10, multi_targeted=True),
        "Square": torchattacks.Square(network, eps=eps, n_queries=queries),
    }
    left, rows = (
        _right(network, images, images.inputs(slice(None)), torch.arange(len(images))),
        Rows(),
    )
    for label, attack in attacks.items():
        started = time.process_time()
        perturbed = attack(images.inputs(left), images.labels[left])
        seconds = time.process_time() - started
        left = _right(network, images, perturbed, left)
        rows.append((label, seconds, len(left)))
    return rows


@torch.no_grad()
def _right(network: nn.Module, images: Images, shown: Tensor, index: Tensor) -> Tensor:
    return index[is_correct(network(shown), images.labels[index])]


def main() -> None:
    """Run both once and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--eps", type=float, default=0.3)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--table", default="benchmarks/suite.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    network, card = checkpoint.load(Path(given.checkpoint))
    data = datasets.load(DataOptions(dataset=card.dataset, data_dir=given.data_dir))
    images = data.test.select(torch.arange(given.images))
    mine, other = (
        run(network, images, given.eps, given.steps, given.queries) for run in (ours, theirs)
    )
    rows = [
        [
            label,
            f"{seconds:.1f}",
            percent(left / given.images),
            f"{peer:.1f}",
            percent(rest / given.images),
            f"{peer / seconds:.1f} ×",
        ]
        for (label, seconds, left), (_, peer, rest) in zip(mine, other, strict=True)
    ]
    total, peers = sum(row[1] for row in mine), sum(row[1] for row in other)
    last = percent(mine[-1][2] / given.images), percent(other[-1][2] / given.images)
    rows.append(
        ["all four", f"{total:.1f}", last[0], f"{peers:.1f}", last[1], f"{peers / total:.1f} ×"]
    )
    about = [
        "CPU-seconds of one run, and robust accuracy after each attack, at L∞ "
        f"ε = {given.eps:g}, with {given.steps} steps for each gradient attack (and for each of "
        f"nine target classes) and {given.queries} queries.",
        f"{data.origin}; the first {given.images} test images; a `{card.model}` of `advlab "
        f"defend`. {_timing.machine()}; "
        f"{_timing.versions(('torch', 'torchattacks'))}.",
        "Written by `python -m benchmarks.suite`.",
    ]
    header = [
        "attack",
        "advlab, s",
        "robust accuracy",
        "torchattacks, s",
        "robust accuracy",
        "ratio",
    ]
    _timing.write(Path(given.table), "The suite compared with torchattacks", about, header, rows)


if __name__ == "__main__":
    main()
