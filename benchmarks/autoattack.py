"""The suite ``autoattack`` beside the official code: robust accuracy after each attack.

The official code has no release on PyPI; install it from a clone of fra31/auto-attack.

    pip install -e /path/to/auto-attack
    python -m benchmarks.autoattack --network MODULE:FUNCTION --norm l1 --eps 6 --limit 500

Both sides attack the same images in one thread and float32. A row is appended to
``benchmarks/autoattack.md`` for each attack.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advlab.components import load_component
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.image_set import Images
from advlab.evaluation.suites import autoattack
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.sweep import Tasks, sweep
from advlab.perturbation.victim import Victim

OFFICIAL = {
    "standard": {"APGD-CE": "apgd-ce", "APGD-T": "apgd-t", "FAB": "fab-t", "Square": "square"},
    "plus": {
        "APGD-CE": "apgd-ce",
        "APGD-DLR": "apgd-dlr",
        "FAB-nearest": "fab",
        "Square": "square",
        "APGD-T": "apgd-t",
        "FAB": "fab-t",
    },
}
NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
Row = tuple[float, float]  # robust accuracy after the attack, its CPU-seconds
HEAD = """# AutoAttack compared with the official code

Robust accuracy (%) after each attack, and its CPU-seconds, on one thread in float32. `python -m
benchmarks.autoattack` appends a row for each attack.

| network | norm, ε | version | images | attack | advlab | official | CPU-s advlab | official |
|---|---|---|--:|---|--:|--:|--:|--:|
"""


def ours(network: nn.Module, images: Images, norm: str, eps: float, version: str) -> dict[str, Row]:
    """The suite as ``advlab evaluate autoattack`` runs it."""
    victim, rows = Victim(network), {}
    robust = _correct(network, images.inputs(slice(None)), images.labels).nonzero().squeeze(1)
    chosen = autoattack.Options.model_validate({"norm": norm, "eps": [eps], "variant": version})
    for entry in autoattack.entries(chosen):
        started = time.process_time()
        if len(robust):
            settings = {"norm": norm, "eps": [eps], **entry.settings}
            options: Any = entry.kind().model_validate(settings)
            tasks = Tasks(images, robust, images.labels[robust], targeted=False)
            attack = load_component("advlab.attacks", entry.attack, "attack").perturb
            (point,) = sweep(attack, victim, tasks, options)
            robust = robust[~point.reached]
        rows[entry.label] = len(robust) / len(images), time.process_time() - started
    return rows


def official(
    network: nn.Module, images: Images, norm: str, eps: float, version: str
) -> dict[str, Row]:
    """The attacks of a version of the official code, one after another."""
    kind = importlib.import_module("autoattack").AutoAttack
    suite = kind(network, norm=NORMS[norm], eps=eps, version=version, device="cpu", verbose=False)
    x, y = images.inputs(slice(None)), images.labels
    robust = _correct(network, x, y)
    rows = {}
    for label, name in OFFICIAL[version].items():
        suite.attacks_to_run = [name]
        started = time.process_time()
        if robust.any():
            perturbed = suite.run_standard_evaluation(x[robust], y[robust], bs=250)
            robust[robust.clone()] = _correct(network, perturbed, y[robust])
        rows[label] = int(robust.sum()) / len(images), time.process_time() - started
    return rows


def _correct(network: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat(
            [
                is_correct(network(part), truth)
                for part, truth in zip(x.split(250), labels.split(250), strict=True)
            ]
        )


def options_of_network(text: str) -> argparse.ArgumentParser:
    """A parser of what both comparisons with the official code take: network, images, ball."""
    parser = argparse.ArgumentParser(description=text.split("\n", 1)[0])
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--checkpoint", help="a run or checkpoint of advlab")
    place.add_argument("--network", metavar="MODULE:FUNCTION", help="a function without arguments")
    parser.add_argument("--name", required=True, help="what the table calls the network")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--norm", choices=NORMS, default="linf")
    parser.add_argument("--eps", type=float, required=True)
    return parser


def network_and_images(given: argparse.Namespace) -> tuple[nn.Module, Images]:
    """The network that was named, and the first test images; one thread from here on."""
    torch.set_num_threads(1)
    if given.checkpoint:
        network: nn.Module = checkpoint.load(Path(given.checkpoint))[0]
    else:
        module, _, function = given.network.partition(":")
        network = getattr(importlib.import_module(module), function)().eval()
    data = load_images.load(DataOptions(dataset=given.dataset, data_dir=given.data_dir))
    return network, data.test.select(torch.arange(given.limit))


def main() -> None:
    """Run both sides and append a table row for each attack."""
    parser = options_of_network(__doc__)
    parser.add_argument("--version", choices=OFFICIAL, default="standard")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    network, images = network_and_images(given)
    sides = [
        side(network, images, given.norm, given.eps, given.version) for side in (ours, official)
    ]
    text = given.table.read_text(encoding="utf-8") if given.table.exists() else HEAD
    for label in OFFICIAL[given.version]:
        (accuracy, seconds), (accuracy_there, seconds_there) = (side[label] for side in sides)
        text += (
            f"| {given.name} | {given.norm} {given.eps:g} | {given.version} | {given.limit} "
            f"| {label} "
            f"| {100 * accuracy:.2f} | {100 * accuracy_there:.2f} "
            f"| {seconds:.1f} | {seconds_there:.1f} |\n"
        )
    given.table.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
