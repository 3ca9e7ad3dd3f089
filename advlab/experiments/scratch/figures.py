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

# A course's report of the same network on MNIST, with the same batches, epochs and seed. Of 0.001
# it says both.
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
    for rate, group in sorted(rates.items()):
        reported = (
            " or ".join(f"{100 * fraction:.0f} %" for fraction in REPORTED.get(rate, [])) or "–"
        )
        figures = (
            [result.train_accuracy for result in group],
            [result.val_accuracy for result in group],
            [result.test_accuracy for result in group],
        )
        lines.append([f"{rate:g}", *map(spread, figures), reported])
    text = table(["learning rate", "training", "validation", "test", WHOSE], lines)
    best = max(rates, key=lambda rate: mean(result.val_accuracy for result in rates[rate]))
    percentage = percent(mean(result.test_accuracy for result in rates[best]))
    sentence = (
        f"best on the validation images: learning rate {best:g}, with {percentage} of the test "
        "images"
    )
    write_text(folder / "sweep.md", f"{text}\n\n{sentence}\n\n{caption}\n")
    ours = {rate: [result.test_accuracy for result in group] for rate, group in rates.items()}
    title = f"Test accuracy against the learning rate, {place}"
    save(sweep(ours, REPORTED, title, caption, WHOSE), folder / "sweep.png")
    return [text, sentence]
