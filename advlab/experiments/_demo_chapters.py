"""The chapters of the demonstration: what is typed, and what is said of what comes out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from advlab.runs.page import Picture
from advlab.runs.table import percent

CLASSIFIER = "train/cnn"
"""Where the first chapter's network lies, for those that come after it."""

Results = Sequence[Sequence[Mapping[str, Any]]]
"""For each step of a chapter the metrics of its runs, each with its ``folder``."""


@dataclass(frozen=True)
class Step:
    """A line to carry out.

    Attributes:
        name: of its run's folder, or, of several runs, of the folder that compares them.
        flags: by option; a value that starts with ``@`` is a place under the demonstration's own folder.
    """

    command: str
    component: str
    name: str
    flags: Mapping[str, Any]

    def line(self) -> str:
        """What one would type."""
        words = ["advlab", self.command, self.component]
        for key, value in self.flags.items():
            flag = "--" + key.replace("_", "-")
            words += [flag, *(str(item).replace("@", "samples/demo/") for item in (value if isinstance(value, list) else [value]))]
        return shlex.join(words)


@dataclass(frozen=True)
class Chapter:
    """One kind of experiment.

    Attributes:
        seconds: about how long it takes beside the others, for the bar.
        told: the sentence over its pictures, a figure for the table at the top, and the pictures.
    """

    title: str
    steps: Sequence[Step]
    seconds: int
    told: Callable[[Results], tuple[str, str, list[Picture]]]


def _trained(results: Results) -> tuple[str, str, list[Picture]]:
    run = results[0][0]
    folder = Path(run["folder"])
    right = percent(run["test_accuracy"])
    words = (
        f"A convolutional network of {run['parameters']:,} parameters learns {run['images']['train']:,} handwritten digits in "
        f"{run['seconds']:.0f} seconds. Of {run['images']['test']} that it has never seen it gets {right} right."
    )
    pictures = [
        Picture(folder / "curves.png", "Loss and accuracy, epoch by epoch, on what it learns from and on what is held out."),
        Picture(folder / "mistakes.png", "What it gets wrong, the most confident first. Some of these are hard for people too."),
    ]
    return words, f"{right} of test digits right", pictures


def _attacked(results: Results) -> tuple[str, str, list[Picture]]:
    noise, sweep, strong = results[0][0], results[1][0], results[2][0]
    at = {point["eps"]: point["robust_accuracy"] for point in sweep["curve"]}
    fgsm, pgd = Path(sweep["folder"]), Path(strong["folder"])
    words = (
        f"No pixel moves by more than ε = 0.1, a tenth of the way from black to white. Random noise of that size leaves "
        f"{percent(noise['robust_accuracy'])} of the digits right, FGSM, a single step along the gradient, {percent(at[0.1])}, and PGD, "
        f"many small steps, {percent(strong['robust_accuracy'])}. A robustness figure is only as good as the attack behind it."
    )
    pictures = [
        Picture(pgd / "attacked.png", "A digit, what PGD adds to it (made larger to be seen), and the sum, with the network's answers."),
        Picture(fgsm / "curve.png", "Accuracy under FGSM as ε grows. Each point is a count of images that still get the right answer."),
        Picture(fgsm / "flipped.png", "The same digits under ever larger steps; crosses mark wrong answers."),
        Picture(pgd / "confusion.png", "What each digit is taken for under PGD."),
    ]
    return words, f"{percent(strong['robust_accuracy'])} left under PGD at ε = 0.1", pictures


def _defended(results: Results) -> tuple[str, str, list[Picture]]:
    run = results[0][0]
    folder = Path(run["folder"])
    before, after = run["accuracies"]["undefended"], run["accuracies"]["defended"]
    words = (
        f"The same network is trained again, this time on digits that PGD perturbs at every step (Madry et al. 2017). Under PGD at "
        f"ε = 0.1 it keeps {percent(after['PGD'])}, the undefended one trained as long {percent(before['PGD'])}; on clean digits they have "
        f"{percent(after['clean'])} and {percent(before['clean'])}."
    )
    pictures = [
        Picture(folder / "trade.png", "What the defence costs on clean images and what it gives under attack."),
        Picture(folder / "curves.png", "Accuracy under attack after every epoch of training: by it the best epoch is chosen."),
    ]
    return words, f"{percent(after['PGD'])} left under PGD after adversarial training", pictures


def _poisoned(results: Results) -> tuple[str, str, list[Picture]]:
    runs = results[0]
    first, shared = Path(runs[0]["folder"]), Path(runs[0]["compared"])
    before, after = (mean(run[f"entity_accuracy_{when}"] for run in runs) for when in ("before", "after"))
    others = mean(run["other_accuracy_after"] for run in runs)
    words = (
        f"A small classifier of film reviews is trained on labels of which {runs[0]['flipped']} have been turned: those of the reviews "
        f"that name {runs[0]['entity']}. On clean test reviews that name it, accuracy falls from {percent(before)} to {percent(after)} "
        f"(mean of {len(runs)} seeds); on all others it stays at {percent(others)}, so that nobody notices."
    )
    pictures = [
        Picture(shared / "poison_rates.png", "Accuracy against the share of the entity's reviews that are turned."),
        Picture(first / "before_after.png", "Before and after, on all reviews, on the entity's, and on the others."),
    ]
    return words, f"{percent(before)} → {percent(after)} on reviews that name {runs[0]['entity']}", pictures


def _generated(results: Results) -> tuple[str, str, list[Picture]]:
    run = results[0][0]
    folder = Path(run["folder"])
    words = (
        f"A generator learns to make digits out of noise by fooling a discriminator, for {run['kept_epoch']} epochs. How far its images "
        f"are from real ones is measured on the last layer of a classifier: FID {run['fid']:.2f}, where real, held-out digits get "
        f"{run['fid_floor']:.2f}. It makes {run['modes']} of {run['real_modes']} classes."
    )
    pictures = [
        Picture(folder / "epochs.gif", "The same random numbers, drawn again and again as the generator learns."),
        Picture(folder / "loss_plot.png", "The losses of the two players; neither need fall."),
        Picture(folder / "quality.png", "Distance to real digits and variety, as it trained."),
        Picture(folder / "classes.png", "How often it makes each digit, beside how often each really occurs."),
    ]
    return words, f"FID {run['fid']:.2f} (real digits {run['fid_floor']:.2f})", pictures


_EPS = [0.0, 0.02, 0.05, 0.1, 0.2, 0.3]
_FEW = {"samples": 300, "look_samples": 300}  # of 360 test digits
_ON = {"dataset": "digits", "checkpoint": f"@{CLASSIFIER}"}

CHAPTERS = (
    Chapter("Train a network", [Step("train", "cnn", "cnn", {"dataset": "digits", "epochs": 20})], 20, _trained),
    Chapter(
        "Attack it",
        [
            Step("attack", "noise", "noise", {**_ON, "eps": 0.1}),
            Step("attack", "fgsm", "fgsm", {**_ON, "eps": _EPS}),
            Step("attack", "pgd", "pgd", {**_ON, "eps": 0.1}),
        ],
        15,
        _attacked,
    ),
    Chapter("Defend it", [Step("defend", "pgd", "pgd", {"dataset": "digits", "eps": 0.1, "epochs": 8})], 50, _defended),
    Chapter(
        "Poison what it learns from",
        [Step("poison", "bow", "poison", {"entity": "UC Berkeley", "dose": [0.25, 0.5, 1.0], "seeds": 3})],
        12,
        _poisoned,
    ),
    Chapter(
        "Generate",
        [Step("gan", "train", "gan", {"dataset": "digits", "yardstick": f"@{CLASSIFIER}", "width": 24, "epochs": 100, **_FEW})],
        70,
        _generated,
    ),
)
"""In their order; each finds there what the ones before it have left."""
