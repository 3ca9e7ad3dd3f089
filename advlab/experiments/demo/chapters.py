"""The chapters of the demonstration: commands, figures and text."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

from advlab.results.attack import AttackResult
from advlab.results.defend import DefendResult
from advlab.results.gan import GanTrainResult
from advlab.results.poison import TextPoisonResult
from advlab.results.train import TrainResult
from advlab.runs.page import Picture
from advlab.runs.results import Finished, Result
from advlab.runs.table import percent

CLASSIFIER = "train/cnn"
"""Where the first chapter's network lies, for those that come after it."""

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Done:
    """What a step left.

    Attributes:
        runs: its finished runs.
        compared: the folder that compares them; None for a single run.
    """

    runs: Sequence[Finished[Result]]
    compared: Path | None

    def results(self, kind: type[R]) -> list[R]:
        """The results of its runs, which are of this class."""
        return [run.result for run in self.runs if isinstance(run.result, kind)]

    @property
    def folder(self) -> Path:
        """The folder of its first run."""
        return self.runs[0].folder


@dataclass(frozen=True)
class Step:
    """A line to carry out.

    Attributes:
        name: of its run's folder, or, of several runs, of the folder that compares them.
        flags: by option; a value that starts with ``@`` is a place under the demonstration's own
            folder.
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
            words += [
                flag,
                *(
                    str(item).replace("@", "samples/demo/")
                    for item in (value if isinstance(value, list) else [value])
                ),
            ]
        return shlex.join(words)


@dataclass(frozen=True)
class Chapter:
    """One kind of experiment.

    Attributes:
        told: the sentence over its pictures, a figure for the table at the top, and the pictures.
    """

    title: str
    steps: Sequence[Step]
    told: Callable[[Sequence[Done]], tuple[str, str, list[Picture]]]


def _trained(done: Sequence[Done]) -> tuple[str, str, list[Picture]]:
    (result,) = done[0].results(TrainResult)
    folder = done[0].folder
    right = percent(result.test_accuracy)
    words = (
        f"A convolutional network of {result.parameters:,} parameters learns "
        f"{result.examples.train:,} handwritten "
        f"digits in {result.seconds:.0f} seconds. Of {result.examples.test} that it has never "
        f"seen it gets {right} right."
    )
    pictures = [
        Picture(
            folder / "curves.png",
            "Loss and accuracy, epoch by epoch, on what it learns from and on what is held out.",
        ),
        Picture(
            folder / "mistakes.png",
            "What it gets wrong, the most confident first. Some of these are hard for people too.",
        ),
    ]
    return words, f"{right} of test digits right", pictures


def _attacked(done: Sequence[Done]) -> tuple[str, str, list[Picture]]:
    noise, sweep, strong = (one.results(AttackResult)[0] for one in done)
    at = {point.eps: point.robust_accuracy for point in sweep.points}
    fgsm, pgd = done[1].folder, done[2].folder
    left = percent(strong.robust_accuracy)
    words = (
        "No pixel moves by more than ε = 0.1, a tenth of the way from black to white. Random "
        "noise of that size leaves "
        f"{percent(noise.robust_accuracy)} of the digits right, FGSM, a single step along the "
        f"gradient, {percent(at[0.1])}, and "
        f"PGD, many small steps, {left}. A robustness figure is only as good as the attack "
        "behind it."
    )
    pictures = [
        Picture(
            pgd / "attacked.png",
            "A digit, what PGD adds to it (made larger to be seen), and the sum, with the "
            "network's answers.",
        ),
        Picture(
            fgsm / "curve.png",
            "Accuracy under FGSM as ε grows. Each point is a count of images that still get the "
            "right answer.",
        ),
        Picture(
            fgsm / "flipped.png",
            "The same digits under ever larger steps; crosses mark wrong answers.",
        ),
        Picture(pgd / "confusion.png", "What each digit is taken for under PGD."),
    ]
    return words, f"{left} robust accuracy under PGD at ε = 0.1", pictures


def _defended(done: Sequence[Done]) -> tuple[str, str, list[Picture]]:
    (result,) = done[0].results(DefendResult)
    folder = done[0].folder
    before, after = result.accuracies.undefended, result.accuracies.defended
    words = (
        "The same network is trained again, this time on digits that PGD perturbs at every step "
        "(Madry et al. 2017). Under PGD at "
        f"ε = 0.1 it keeps {percent(after['PGD'])}, the undefended one trained as long "
        f"{percent(before['PGD'])}; on clean digits they have "
        f"{percent(after['clean'])} and {percent(before['clean'])}."
    )
    pictures = [
        Picture(
            folder / "trade.png",
            "What the defence costs on clean images and what it gives under attack.",
        ),
        Picture(
            folder / "curves.png",
            "Accuracy under attack after every epoch of training: by it the best epoch is chosen.",
        ),
    ]
    return (
        words,
        f"{percent(after['PGD'])} robust accuracy under PGD after adversarial training",
        pictures,
    )


def _poisoned(done: Sequence[Done]) -> tuple[str, str, list[Picture]]:
    results, folder = done[0].results(TextPoisonResult), done[0].folder
    first, compared = results[0], done[0].compared
    assert compared is not None
    before = mean(result.entity_accuracy_before for result in results)
    after = mean(result.entity_accuracy_after for result in results)
    others = mean(result.other_accuracy_after or 0.0 for result in results)
    words = (
        f"A small classifier of film reviews is trained on labels of which {first.poisoned} have "
        "been turned: those of the reviews "
        f"that name {first.entity}. On clean test reviews that name it, accuracy falls from "
        f"{percent(before)} to {percent(after)} "
        f"(mean of {len(results)} seeds); on all others it stays at {percent(others)}, so that "
        "nobody notices."
    )
    pictures = [
        Picture(
            compared / "poison_rates.png",
            "Accuracy against the fraction of the entity's reviews that are turned.",
        ),
        Picture(
            folder / "before_after.png",
            "Before and after, on all reviews, on the entity's, and on the others.",
        ),
    ]
    return (
        words,
        f"{percent(before)} → {percent(after)} on reviews that name {first.entity}",
        pictures,
    )


def _generated(done: Sequence[Done]) -> tuple[str, str, list[Picture]]:
    (result,) = done[0].results(GanTrainResult)
    folder, real = done[0].folder, result.real_reference.fid
    words = (
        "A generator learns to make digits out of noise by fooling a discriminator, for "
        f"{result.checkpoint_epoch} epochs. How far its "
        "images are from real ones is measured on the last layer of a classifier: FID "
        f"{result.fid:.2f}, where real, held-out digits "
        f"get {real:.2f}. It makes {result.modes} of {result.real_modes} classes."
    )
    pictures = [
        Picture(
            folder / "epochs.gif",
            "The same random numbers, drawn again and again as the generator learns.",
        ),
        Picture(folder / "loss_plot.png", "The losses of both networks; neither need fall."),
        Picture(folder / "quality.png", "Distance to real digits and variety, as it trained."),
        Picture(
            folder / "classes.png",
            "How often it makes each digit, beside how often each really occurs.",
        ),
    ]
    return words, f"FID {result.fid:.2f} (real digits {real:.2f})", pictures


_EPS = [0.0, 0.02, 0.05, 0.1, 0.2, 0.3]
_FEW = {"samples": 300, "evaluation_samples": 300}  # of 360 test digits
_ON = {"dataset": "digits", "checkpoint": f"@{CLASSIFIER}"}

CHAPTERS = (
    Chapter(
        "Train a network",
        [Step("train", "cnn", "cnn", {"dataset": "digits", "epochs": 10})],
        _trained,
    ),
    Chapter(
        "Attack it",
        [
            Step("attack", "noise", "noise", {**_ON, "eps": 0.1}),
            Step("attack", "fgsm", "fgsm", {**_ON, "eps": _EPS}),
            Step("attack", "pgd", "pgd", {**_ON, "eps": 0.1}),
        ],
        _attacked,
    ),
    Chapter(
        "Defend it",
        [
            Step(
                "defend",
                "pgd",
                "pgd",
                {"dataset": "digits", "eps": 0.1, "channels": 8, "epochs": 8},
            )
        ],
        _defended,
    ),
    Chapter(
        "Poison what it learns from",
        [
            Step(
                "poison",
                "bow",
                "poison",
                {"entity": "UC Berkeley", "poison_rate": [0.25, 0.5, 1.0], "seeds": 3},
            )
        ],
        _poisoned,
    ),
    Chapter(
        "Generate",
        [
            Step(
                "gan",
                "train",
                "gan",
                {
                    "dataset": "digits",
                    "feature_classifier": f"@{CLASSIFIER}",
                    "width": 16,
                    "epochs": 30,
                    **_FEW,
                },
            )
        ],
        _generated,
    ),
)
"""In their order; each finds there what the ones before it have left."""
