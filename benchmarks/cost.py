"""Attacks in L2 on one network: how many images each breaks, against CPU-seconds and passes.

    advlab train cnn --channels 8 --hidden 32 --epochs 60 --dataset digits --name net0
    python -m benchmarks.cost

Writes ``benchmarks/cost.md`` and ``docs/images/attack-cost.png``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from advlab.components import load_component
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.geometry import norm
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.plots.style import COLOURS, GREY, MARKERS, axes, drawing, figure, log_scale, write
from advlab.runs.table import counted
from benchmarks import _timing

EPS = 0.5
# By attack: the option that sets its budget, its values, and options that all runs share.
ATTACKS: dict[str, tuple[str, list[int], dict[str, Any]]] = {
    "pgd": ("steps", [5, 20, 80], {}),
    "apgd": ("steps", [5, 20, 80], {}),
    "deepfool": ("steps", [2, 5, 50], {}),
    "ddn": ("steps", [10, 30, 100], {}),
    "fmn": ("steps", [10, 30, 100], {}),
    "bb": ("steps", [10, 30, 100], {}),
    "fab": ("steps", [3, 10, 30], {"minimal": True}),
    "cw": ("steps", [20, 60, 150], {"search_steps": 6}),
    "square": ("queries", [100, 400, 1600], {}),
    "simba": ("queries", [100, 400, 1600], {}),
    "nes": ("queries", [100, 400, 1600], {}),
    "hopskipjump": ("queries", [400, 1600], {}),
    "geoda": ("queries", [400, 1600], {}),
}
SEES = {"gradients": "-", "logits": "--", "predicted class": ":"}


@dataclass(frozen=True)
class Point:
    """What an attack reached with a budget.

    Attributes:
        success: fraction of the images that it broke within the radius.
        seconds: CPU-seconds for each image, on one thread.
        passes: images that went forward through the network for each image that was attacked.
        gradients: how many of them went backward as well.
    """

    attack: str
    sees: str
    budget: int
    success: float
    seconds: float
    passes: float
    gradients: float


class _Counted(nn.Module):
    """A network that counts the images it is shown."""

    images = 0

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        _Counted.images += len(x)
        logits: Tensor = self.network(x)
        return logits


def measured(
    model: nn.Module, images: Tensor, labels: Tensor, name: str, budget: int, turns: int
) -> Point:
    """Run an attack ``turns`` times, after one turn of warming up."""
    attack = load_component("advlab.attacks", name, "attack")
    option, _, shared = ATTACKS[name]
    values = {"norm": "l2", "eps": [EPS], "precision": "fp32", option: budget, **shared}
    options = attack.Options.model_validate(values)

    def run(network: nn.Module) -> tuple[Tensor, Victim]:
        victim, random = Victim(network), ImageRandom(0, torch.arange(len(images)))
        return attack.perturb(victim, images, Goal(labels), random, EPS, options), victim

    before = _Counted.images
    made, victim = run(_Counted(model).eval())
    passes = _Counted.images - before
    seconds = []
    for _ in range(turns):
        started = time.process_time()
        run(model)
        seconds.append(time.process_time() - started)
    within = norm(made - images, 2) <= EPS * (1 + 1e-5)
    broken = ~is_correct(Victim(model).logits(made), labels) & within
    count = len(images)
    return Point(
        name,
        options.sees,
        budget,
        int(broken.sum()) / count,
        sorted(seconds)[turns // 2] / count,
        passes / count,
        victim.gradients.total / count,
    )


@drawing
def cost(points: list[dict[str, Any]], caption: str) -> Figure:
    """Success against CPU-seconds and against passes, a line for each attack."""
    drawn = figure(10, 5, "What attacks in L2 cost on the digits", caption)
    names = list(dict.fromkeys(point["attack"] for point in points))
    for panel, key, label in zip(
        axes(drawn, 1, 2, sharey=True)[0],
        ("seconds", "passes"),
        ("CPU-milliseconds per image", "images through the network, per image attacked"),
        strict=True,
    ):
        for number, name in enumerate(names):
            own = [point for point in points if point["attack"] == name]
            factor = 1000 if key == "seconds" else 1
            panel.plot(
                [factor * point[key] for point in own],
                [100 * point["success"] for point in own],
                SEES[own[0]["sees"]],
                color=COLOURS[number % 7],
                marker=MARKERS[number % len(MARKERS)],
                markerfacecolor="white" if number >= 7 else COLOURS[number % 7],
                label=f"{name} ({own[0]['sees']})",
            )
        panel.set_xlabel(label)
        log_scale(panel, "x")
    left, right = drawn.axes
    left.set_ylabel(f"images broken within L2 ε = {EPS:g} (%)")
    left.set_ylim(bottom=-1)
    handles, labels = right.get_legend_handles_labels()
    legend = drawn.legend(
        handles, labels, loc="outside right upper", fontsize=8.5, handlelength=3.5
    )
    legend.get_frame().set_edgecolor(GREY)
    return drawn


def main() -> None:
    """Measure every attack at every budget; write the table and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="samples/train/net0", help="folder of its run")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--table", default="benchmarks/cost.md")
    parser.add_argument("--figure", default="docs/images/attack-cost.png")
    given = parser.parse_args()
    data = load_images.load(DataOptions(dataset="digits"))
    model, metadata = checkpoint.load(Path(given.model))
    torch.set_num_threads(1)
    images, labels = data.test.inputs(slice(0, 2 * given.images)), data.test.labels
    right = is_correct(Victim(model).logits(images), labels[: len(images)]).nonzero()
    right = right[: given.images, 0]
    points = []
    for name, (_, budgets, _) in ATTACKS.items():
        for budget in budgets:
            points.append(measured(model, images[right], labels[right], name, budget, given.turns))
            print(points[-1], flush=True)
    about = f"{data.origin}; the first {len(right)} test images that the network has right"
    place = f"{_timing.machine()}; {_timing.versions(('torch',))}"
    drawn = cost([vars(point) for point in points], f"{about} · {metadata.model} · {place}")
    Path(given.figure).parent.mkdir(parents=True, exist_ok=True)
    write(drawn, Path(given.figure), "png")
    rows = [
        [
            point.attack,
            point.sees,
            f"{budget_name(point.attack)} {point.budget}",
            f"{100 * point.success:.0f} %",
            f"{1000 * point.seconds:.2f}",
            f"{point.passes:.1f}",
            f"{point.gradients:.1f}",
        ]
        for point in points
    ]
    text = [
        f"Images broken within L2 ε = {EPS:g}, and for each image attacked CPU-milliseconds "
        f"(median of {counted(given.turns, 'run')}), images that went through the network, and how "
        "many of these went backward as well. The network decides in float32.",
        f"{about}. {place}.",
        "Written by `python -m benchmarks.cost`. Network: `advlab train cnn --channels 8 --hidden "
        "32 --epochs 60 --dataset digits`. `deepfool`, `ddn`, `fmn`, `bb`, `fab`, `cw` and "
        "`geoda` look for the smallest perturbation and spend their whole budget; the others are "
        "done with an image at its first success within ε.",
    ]
    header = ["attack", "sees", "budget", "broken", "ms", "passes", "gradients"]
    _timing.write(Path(given.table), "What attacks cost", text, header, rows)


def budget_name(attack: str) -> str:
    """``steps`` or ``queries``."""
    return ATTACKS[attack][0]


if __name__ == "__main__":
    main()
