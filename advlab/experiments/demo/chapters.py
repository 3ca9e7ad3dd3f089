"""The chapters of the demonstration: commands, figures and text."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from advlab.results.attack import AttackResult
from advlab.results.defend import DefendResult
from advlab.results.gan import GanTrainResult
from advlab.results.poison import TextPoisonResult
from advlab.results.train import TrainResult
from advlab.runs.page import Picture
from advlab.runs.results import Finished, Result
from advlab.runs.table import percent, spread

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
            "Loss and accuracy by epoch on training and validation images.",
        ),
        Picture(
            folder / "mistakes.png",
            "Misclassified test images, the most confident first. Some are hard for people too.",
        ),
    ]
    return words, f"{right} of test digits right", pictures


def _attacked(done: Sequence[Done]) -> tuple[str, str, list[Picture]]:
    noise, sweep, strong = (one.results(AttackResult)[0] for one in done)
    at = {point.eps: point.robust_accuracy for point in sweep.points}
    fgsm, pgd = done[1].folder, done[2].folder
    robust = percent(strong.robust_accuracy)
    words = (
        "No pixel changes by more than ε = 0.1, a tenth of the way from black to white. Accuracy "
        f"is {percent(noise.robust_accuracy)} under random noise of that size, "
        f"{percent(at[0.1])} under FGSM, which takes one step along the gradient, and {robust} "
        "under PGD, which takes many small steps. A robustness figure is only as good as the "
        "attack behind it."
    )
    pictures = [
        Picture(
            pgd / "attacked.png",
            "A digit, the amplified perturbation that PGD adds, and the sum, with predictions.",
        ),
        Picture(
            fgsm / "curve.png",
            "Accuracy under FGSM against ε.",
        ),
        Picture(
            fgsm / "flipped.png",
            "The same digits at growing ε; crosses mark wrong predictions.",
        ),
        Picture(pgd / "confusion.png", "Predictions of each digit under PGD."),
    ]
    return words, f"{robust} robust accuracy under PGD at ε = 0.1", pictures


def _defended(done: Sequence[Done]) -> tuple[str, str, list[Picture]]:
    (result,) = done[0].results(DefendResult)
    folder = done[0].folder
    before, after = result.accuracies.undefended, result.accuracies.defended
    words = (
        "The same network is trained again on digits that PGD perturbs at every step (Madry et "
        f"al. 2017). Its accuracy under PGD at ε = 0.1 is {percent(after['PGD'])}; that of the "
        f"undefended network, trained as long, is {percent(before['PGD'])}. On clean digits they "
        f"reach {percent(after['clean'])} and {percent(before['clean'])}."
    )
    pictures = [
        Picture(
            folder / "trade.png",
            "Accuracy of both networks on clean images and under attack.",
        ),
        Picture(
            folder / "curves.png",
            "Accuracy under attack after every epoch, by which the epoch is chosen.",
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
    before = spread([result.entity_accuracy_before for result in results])
    after = spread([result.entity_accuracy_after for result in results])
    others = spread([result.other_accuracy_after or 0.0 for result in results])
    words = (
        f"A small classifier of film reviews is trained after {first.poisoned} labels were "
        f"flipped: those of the reviews that name {first.entity}. On test reviews that name it, "
        f"accuracy falls from {before} to {after} (mean ± standard deviation of {len(results)} "
        f"seeds). On all other reviews it is {others}, so that the attack is hard to notice."
    )
    pictures = [
        Picture(
            compared / "poison_rates.png",
            "Accuracy against the poison rate, the fraction of the entity's reviews with flipped "
            "labels.",
        ),
        Picture(
            folder / "before_after.png",
            "Accuracy before and after, on all reviews, on those of the entity and on the others.",
        ),
    ]
    return (
        words,
        f"{before} → {after} on reviews that name {first.entity}",
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
