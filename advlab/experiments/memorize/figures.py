"""Figures of ``advlab memorize``: training curves, and accuracy by fraction of random labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from advlab.config.references import dataset_title
from advlab.experiments.memorize.study import Training
from advlab.plots.memorize import against_share, learning
from advlab.plots.style import save
from advlab.results.memorize import MemorizeResult
from advlab.runs.files import read_lines, write_text
from advlab.runs.results import Finished
from advlab.runs.table import spread, table

Curves = dict[str, list[list[dict[str, float]]]]


def draw(folder: Path, result: MemorizeResult, trainings: Sequence[Training]) -> None:
    """The pictures of one seed."""
    curves: Curves = {
        _named(training.point.random_fraction): [training.history] for training in trainings
    }
    _draw(curves, [result], folder, f"{result.origin} · seed {result.seed}")


def _named(share: float) -> str:
    return {0.0: "true labels", 1.0: "random labels"}.get(share, f"{100 * share:g} % random")


def _draw(
    curves: Curves, members: Sequence[MemorizeResult], folder: Path, caption: str, slug: str = ""
) -> None:
    first = members[0]
    name = f"{first.model} on {first.examples.train:,} images of {dataset_title(first.dataset)}"
    caption = f"{caption} · true labels: {first.true_task}"
    save(learning(curves, f"Memorisation of labels: {name}", caption), folder / f"curves{slug}.png")
    fits: dict[float, list[int | None]] = {}
    shares: dict[str, dict[float, list[float]]] = {"random labels": {}, "true labels": {}}
    for result in members:
        for point in result.points:
            share = point.random_fraction
            fits.setdefault(share, []).append(point.epochs_to_fit)
            shares["random labels"].setdefault(share, []).append(point.test_accuracy)
            shares["true labels"].setdefault(share, []).append(point.test_accuracy_on_true_labels)
    save(
        against_share(
            fits, shares, f"Epochs to fit and test accuracy with random labels: {name}", caption
        ),
        folder / f"shares{slug}.png",
    )


def conclude(
    groups: Mapping[str, Sequence[Finished[MemorizeResult]]], folder: Path, caption: str
) -> list[str]:
    """Over the seeds: the curves, the share against the epochs needed, a table of it, and whether
    the test is a coin's.

    Returns:
        Lines to print.
    """
    lines = []
    for label, finished in groups.items():
        members = [run.result for run in finished]
        curves: Curves = {}
        for one in finished:
            runs: dict[float, list[dict[str, float]]] = {}
            for record in read_lines(one.folder / "history.jsonl"):
                runs.setdefault(record["random_fraction"], []).append(record)
            for share, run in runs.items():
                curves.setdefault(_named(share), []).append(run)
        slug = "" if len(groups) == 1 else "-" + "".join(c if c.isalnum() else "_" for c in label)
        _draw(curves, members, folder, caption, slug)
        lines += [_table(label, members), *_verdict(members)]
    write_text(folder / "memorize.md", "\n\n".join([*lines, caption]) + "\n")
    return lines


def _table(label: str, members: Sequence[MemorizeResult]) -> str:
    rows = []
    for points in zip(*(result.points for result in members), strict=True):
        fits = [point.epochs_to_fit for point in points]
        rows.append(
            [
                f"{100 * points[0].random_fraction:g} %",
                _epochs(fits),
                spread([point.train_accuracy for point in points]),
                spread([point.test_accuracy for point in points]),
                spread([point.test_accuracy_on_true_labels for point in points]),
            ]
        )
    return table(
        [
            f"{label}: random labels",
            "epochs to fit",
            "training accuracy",
            "test, random labels",
            "test, true labels",
        ],
        rows,
    )


def _epochs(fits: Sequence[int | None]) -> str:
    epochs = [fit for fit in fits if fit is not None]
    if not epochs:
        return "never"
    text = f"{mean(epochs):.1f}" + (f" ± {stdev(epochs):.1f}" if len(epochs) > 1 else "")
    return text if len(epochs) == len(fits) else f"{text} ({len(epochs)} of {len(fits)})"


def _verdict(members: Sequence[MemorizeResult]) -> list[str]:
    """Whether the test accuracy on drawn labels is that of a coin, where all of them were drawn."""
    if members[0].random_fraction != 1:
        return []
    held = sum(result.test_interval[0] <= 0.5 <= result.test_interval[1] for result in members)
    return [
        f"random labels: 50 % lies in the 95 % interval of the test accuracy in {held} of "
        f"{len(members)} runs"
    ]
