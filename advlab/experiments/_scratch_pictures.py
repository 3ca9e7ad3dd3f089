"""Several trainings by hand beside each other: the sweep over learning rates with what was reported of it elsewhere, and every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advlab.plots.scratch import epochs, sweep
from advlab.plots.style import save
from advlab.runs.files import read_lines, write_text
from advlab.runs.table import percent, spread, table

# A course's report of the same network on MNIST, with the same batches, epochs and seed. Of 0.001 it says both.
REPORTED = {1e-4: [0.11], 1e-3: [0.60, 0.88], 1e-2: [0.90], 1e-1: [0.95], 1.0: [0.98]}
WHOSE = "a course's report (784-128-10, MNIST)"


def conclude(groups: Mapping[str, Sequence[dict[str, Any]]], folder: Path, caption: str) -> list[str]:
    """Draw every epoch of every setting and, where the learning rate was varied, the sweep.

    Returns:
        Lines to print.
    """
    members = [metrics for group in groups.values() for metrics in group]
    place = f"by hand on {' and '.join(sorted({metrics['dataset'] for metrics in members}))}"
    histories = {label: [read_lines(Path(metrics["folder"]) / "history.jsonl") for metrics in group] for label, group in groups.items()}
    save(epochs(histories, f"Every epoch, {place}", caption), folder / "epochs.png")
    rates: dict[float, list[dict[str, Any]]] = {}
    for metrics in members:
        rates.setdefault(metrics["lr"], []).append(metrics)
    if len(rates) < 2:
        return []
    lines = []
    for rate, group in sorted(rates.items()):
        said = " or ".join(f"{100 * share:.0f} %" for share in REPORTED.get(rate, [])) or "–"
        shares = {key: [metrics[key] for metrics in group] for key in ("train_accuracy", "val_accuracy", "test_accuracy")}
        lines.append([f"{rate:g}", *(spread(values) for values in shares.values()), said])
    text = table(["learning rate", "training", "validation", "test", WHOSE], lines)
    best = max(rates, key=lambda rate: sum(metrics["val_accuracy"] for metrics in rates[rate]) / len(rates[rate]))
    shown = percent(sum(metrics["test_accuracy"] for metrics in rates[best]) / len(rates[best]))
    sentence = f"best on the validation images: learning rate {best:g}, with {shown} of the test images"
    write_text(folder / "sweep.md", f"{text}\n\n{sentence}\n\n{caption}\n")
    ours = {rate: [metrics["test_accuracy"] for metrics in group] for rate, group in rates.items()}
    title = f"Test accuracy against the learning rate, {place}"
    save(sweep(ours, REPORTED, title, caption, WHOSE), folder / "sweep.png")
    return [text, sentence]
