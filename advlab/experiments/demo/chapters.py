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
"""Run folder of the first chapter's network, relative to the folder of the demonstration."""

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class StepOutput:
    """Finished runs of a step.

    Attributes:
        runs: the runs.
        compared: folder of their comparison; None for a single run.
    """

    runs: Sequence[Finished[Result]]
    compared: Path | None

    def results(self, kind: type[R]) -> list[R]:
        """Return the results that are instances of ``kind``."""
        return [run.result for run in self.runs if isinstance(run.result, kind)]

    @property
    def folder(self) -> Path:
        """Folder of the first run."""
        return self.runs[0].folder


@dataclass(frozen=True)
class Step:
    """One command line of the demonstration.

    Attributes:
        command: the command, such as "train".
        component: the component, such as "cnn".
        name: name of the run's folder or, for several runs, of the folder of their comparison.
        flags: values by option; a value that starts with ``@`` is a path relative to the folder of
            the demonstration.
    """

    command: str
    component: str
    name: str
    flags: Mapping[str, Any]

    def flags_in(self, folder: Path, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values by option for a demonstration in ``folder``.

        Args:
            shared: values that all steps have in common.
        """
        own = {
            key: str(folder / value[1:]) if str(value).startswith("@") else value
            for key, value in self.flags.items()
        }
        return {**own, **shared, "out": str(folder), "name": self.name}

    def line(self, folder: Path, shared: Mapping[str, Any]) -> str:
        """Return the command line as a user would type it; typed in a fresh folder after those
        before it, it makes the same run."""
        words = ["advlab", self.command, self.component]
        for key, value in self.flags_in(folder, shared).items():
            values = value if isinstance(value, list) else [value]
            words += ["--" + key.replace("_", "-"), *map(str, values)]
        return shlex.join(words)


@dataclass(frozen=True)
class Chapter:
    """One kind of experiment.

    Attributes:
        title: heading on the page.
        steps: command lines, in order; a step may use the runs of earlier chapters.
        describe: from the outputs of the steps, returns the text of the chapter, its figure for the
            summary table, and its pictures.
    """

    title: str
    steps: Sequence[Step]
    describe: Callable[[Sequence[StepOutput]], tuple[str, str, list[Picture]]]


def _trained(outputs: Sequence[StepOutput]) -> tuple[str, str, list[Picture]]:
    (result,) = outputs[0].results(TrainResult)
    folder = outputs[0].folder
    accuracy = percent(result.test_accuracy)
    text = (
        f"A convolutional network with {result.parameters:,} parameters is trained on "
        f"{result.examples.train:,} handwritten digits in {result.seconds:.0f} seconds. Its "
        f"accuracy on {result.examples.test} test digits is {accuracy}."
    )
    pictures = [
        Picture(
            folder / "curves.png",
            "Loss and accuracy on training and validation digits, by epoch.",
        ),
        Picture(
            folder / "mistakes.png",
            "Misclassified test digits, the most confident first.",
        ),
    ]
    return text, f"{accuracy} test accuracy", pictures


def _attacked(outputs: Sequence[StepOutput]) -> tuple[str, str, list[Picture]]:
    noise, sweep, strong = (output.results(AttackResult)[0] for output in outputs)
    fgsm_accuracy = {point.eps: point.robust_accuracy for point in sweep.points}
    fgsm, pgd = outputs[1].folder, outputs[2].folder
    pgd_accuracy = percent(strong.robust_accuracy)
    text = (
        "Each pixel changes by at most ε = 0.1, a tenth of the range from black to white. Under "
        f"random noise of that size the accuracy is {percent(noise.robust_accuracy)}. Under FGSM, "
        f"a single step along the gradient, it is {percent(fgsm_accuracy[0.1])}, and under PGD, "
        f"many small steps, it is {pgd_accuracy}. Accuracy under an attack is an upper bound of "
        "robust accuracy, and a stronger attack may lower it."
    )
    pictures = [
        Picture(
            pgd / "attacked.png",
            "Digits, the perturbation that PGD adds (amplified), and the result, with the "
            "predictions of the network.",
        ),
        Picture(
            fgsm / "curve.png",
            "Accuracy on test digits under FGSM, against ε.",
        ),
        Picture(
            fgsm / "flipped.png",
            "The same digits under FGSM at increasing ε; crosses mark wrong predictions.",
        ),
        Picture(pgd / "confusion.png", "Confusion matrix under PGD: true digits and predictions."),
    ]
    return text, f"{pgd_accuracy} robust accuracy under PGD at ε = 0.1", pictures


def _defended(outputs: Sequence[StepOutput]) -> tuple[str, str, list[Picture]]:
    (result,) = outputs[0].results(DefendResult)
    folder = outputs[0].folder
    before, after = result.accuracies.undefended, result.accuracies.defended
    text = (
        f"A smaller network, of {result.parameters or 0:,} parameters, is trained on digits that "
        "PGD perturbs at every step (Madry et al. 2017). Its accuracy under PGD at ε = 0.1 is "
        f"{percent(after['PGD'])}, that of the same network trained for as long without them "
        f"{percent(before['PGD'])}. On clean digits the accuracies are {percent(after['clean'])} "
        f"and {percent(before['clean'])}."
    )
    pictures = [
        Picture(
            folder / "trade.png",
            "Accuracy of both networks, clean and under attack.",
        ),
        Picture(
            folder / "curves.png",
            "Accuracy under attack after every epoch; it selects the best epoch.",
        ),
    ]
    return (
        text,
        f"{percent(after['PGD'])} robust accuracy under PGD after adversarial training",
        pictures,
    )


def _poisoned(outputs: Sequence[StepOutput]) -> tuple[str, str, list[Picture]]:
    results, folder = outputs[0].results(TextPoisonResult), outputs[0].folder
    first, compared = results[0], outputs[0].compared
    assert compared is not None
    before, after = (
        spread([value for value in values if value is not None])
        for values in (
            [result.entity_accuracy_before for result in results],
            [result.entity_accuracy_after for result in results],
        )
    )
    others = spread([result.other_accuracy_after or 0.0 for result in results])
    text = (
        f"A classifier of film reviews is trained after {first.poisoned} labels were "
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
        text,
        f"{before} → {after} on reviews that name {first.entity}",
        pictures,
    )


def _generated(outputs: Sequence[StepOutput]) -> tuple[str, str, list[Picture]]:
    (result,) = outputs[0].results(GanTrainResult)
    folder, real_fid = outputs[0].folder, result.real_reference.fid
    text = (
        "A generator is trained against a discriminator for "
        f"{result.checkpoint_epoch} epochs. FID, the distance of its images to real ones on the "
        f"last hidden layer of a classifier, is {result.fid:.2f}; for held-out real digits it is "
        f"{real_fid:.2f}. The generator produces {result.modes} of {result.real_modes} classes."
    )
    pictures = [
        Picture(
            folder / "epochs.gif",
            "Images of the same latent vectors during training.",
        ),
        Picture(folder / "loss_plot.png", "Losses of both networks; they need not decrease."),
        Picture(folder / "quality.png", "Distance to real digits, and variety, during training."),
        Picture(
            folder / "classes.png",
            "Frequency of each digit among generated and real images.",
        ),
    ]
    return text, f"FID {result.fid:.2f} (real digits {real_fid:.2f})", pictures


_EPS = [0.0, 0.02, 0.05, 0.1, 0.2, 0.3]
_SAMPLE_COUNTS = {"samples": 300, "evaluation_samples": 300}  # of 360 test digits
_TARGET = {"dataset": "digits", "model": f"@{CLASSIFIER}"}

CHAPTERS = (
    Chapter(
        "Train a network",
        [Step("train", "cnn", "cnn", {"dataset": "digits", "epochs": 10})],
        _trained,
    ),
    Chapter(
        "Attack the network",
        [
            Step("attack", "noise", "noise", {**_TARGET, "eps": 0.1}),
            Step("attack", "fgsm", "fgsm", {**_TARGET, "eps": _EPS}),
            Step("attack", "pgd", "pgd", {**_TARGET, "eps": 0.1}),
        ],
        _attacked,
    ),
    Chapter(
        "Defend the network",
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
        "Poison the training data",
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
        "Generate images",
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
                    **_SAMPLE_COUNTS,
                },
            )
        ],
        _generated,
    ),
)
"""Chapters in the order in which they are run; later ones use the network of the first."""
