"""Figures of several trainings from scratch: a sweep over learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from advlab.plots.scratch import epochs, sweep
from advlab.plots.style import save
from advlab.results.scratch import ScratchTrainResult
from advlab.runs.files import read_lines, write_text
from advlab.runs.results import Finished
from advlab.runs.table import percent, spread, table

# A course's report of this network on MNIST, with the same batches, epochs and seed, beside which
# no other network or data set is put. Of 0.001 it says both.
_REPORTED_OF = ("784-128-10", "mnist")
REPORTED = {1e-4: [0.11], 1e-3: [0.60, 0.88], 1e-2: [0.90], 1e-1: [0.95], 1.0: [0.98]}
WHOSE = "a course's report (784-128-10, MNIST)"


def conclude(
    groups: Mapping[str, Sequence[Finished[ScratchTrainResult]]], folder: Path, caption: str
) -> list[str]:
    """Draw every epoch of every setting and, where the learning rate was varied, the sweep.

    Returns:
        Lines to print.
    """
    members = [run.result for group in groups.values() for run in group]
    place = f"from scratch on {' and '.join(sorted({result.dataset for result in members}))}"
    histories = {
        label: [read_lines(run.folder / "history.jsonl") for run in group]
        for label, group in groups.items()
    }
    save(epochs(histories, f"Every epoch, {place}", caption), folder / "epochs.png")
    rates: dict[float, list[ScratchTrainResult]] = {}
    for result in members:
        rates.setdefault(result.lr, []).append(result)
    if len(rates) < 2:
        return []
    lines = []
    of_report = all((result.model, result.dataset) == _REPORTED_OF for result in members)
    reported = REPORTED if of_report else {}
    for rate, group in sorted(rates.items()):
        beside = " or ".join(f"{100 * one:.0f} %" for one in reported.get(rate, [])) or "–"
        figures = (
            [result.train_accuracy for result in group],
            [result.val_accuracy for result in group],
            [result.test_accuracy for result in group],
        )
        lines.append([f"{rate:g}", *map(spread, figures), *([beside] if reported else [])])
    heads = ["learning rate", "training", "validation", "test", *([WHOSE] if reported else [])]
    text = table(heads, lines)
    best = max(rates, key=lambda rate: mean(result.val_accuracy for result in rates[rate]))
    percentage = percent(mean(result.test_accuracy for result in rates[best]))
    sentence = (
        f"best on the validation images: learning rate {best:g}, with {percentage} of the test "
        "images"
    )
    write_text(folder / "sweep.md", f"{text}\n\n{sentence}\n\n{caption}\n")
    ours = {rate: [result.test_accuracy for result in group] for rate, group in rates.items()}
    title = f"Test accuracy against the learning rate, {place}"
    save(sweep(ours, reported, title, caption, WHOSE), folder / "sweep.png")
    return [text, sentence]
