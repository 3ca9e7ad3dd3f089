"""Several defences of one network side by side: a row and a line of points for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from advlab.config.references import dataset_title
from advlab.experiments.defend.robustness import ATTACKS
from advlab.plots.defence import side_by_side
from advlab.plots.style import save
from advlab.results.attack import ball
from advlab.results.defend import DefendResult
from advlab.runs.table import counted, seconds_text, spread, table

UNDEFENDED = "undefended"
_VERDICT = "verdict (≤)"
Figures = dict[str, list[float]]


def overview(
    groups: Mapping[str, Sequence[DefendResult]], folder: Path, caption: str
) -> str | None:
    """Clean accuracy, accuracy under each attack, verdict and training time of every defence.

    A defence that is attacked by one attack in several ways, such as a filter, counts by the way
    that leaves least of it.

    Args:
        groups: the results over the seeds of each setting, by its label.
        folder: where ``defences.png`` is drawn.

    Returns:
        A table; None where all settings are of one defence, or in different balls.
    """
    every = [result for members in groups.values() for result in members]
    if len({result.component for result in every}) < 2:
        return None
    if len({(result.norm, *result.eps) for result in every}) > 1:
        return None
    rows = _with_undefended(groups)
    attacks = [*ATTACKS, *([_VERDICT] if any(_VERDICT in row for row in rows.values()) else [])]
    seconds = {label: mean(one.seconds for one in members) for label, members in groups.items()}
    doubted = _doubted(groups)
    first = every[0]
    lines = [
        [
            label,
            spread(figures["clean"]),
            *(spread(figures[name]) if name in figures else "–" for name in attacks),
            seconds_text(seconds[label]) if seconds.get(label) else "–",
        ]
        for label, figures in rows.items()
    ]
    place = f"{first.model} on {dataset_title(first.dataset)}"
    title = f"Defences of {place}, {ball(first.eps[-1], first.norm).removeprefix('at ')}"
    measured = _measured_on(every)
    drawn = side_by_side(rows, first.classes, title, f"{measured} · {caption}")
    save(drawn, folder / "defences.png")
    header = [f"{place}, {ball(first.eps[-1], first.norm)}", "clean", *attacks, "training seconds"]
    return "\n\n".join([table(header, lines), measured, *doubted])


def _measured_on(results: Sequence[DefendResult]) -> str:
    """How many images the accuracies are of, and the suites of the verdicts."""
    counts = sorted({result.images for result in results})
    images = " or ".join(counted(count, "test image") for count in counts)
    suites = sorted({one.verdict.suite for one in results if one.verdict is not None})
    return f"{images}; verdict: {' or '.join(suites)} suite" if suites else images


def _with_undefended(groups: Mapping[str, Sequence[DefendResult]]) -> dict[str, Figures]:
    """Accuracies of every defence by situation, and first those of the undefended network where all
    defences start from the same ones."""
    networks = {tuple(one.undefended.sha256 for one in members) for members in groups.values()}
    rows: dict[str, Figures] = {}
    if len(networks) == 1:
        members = next(iter(groups.values()))
        rows[UNDEFENDED] = _figures([one.accuracies.undefended for one in members])
    for label, members in groups.items():
        rows[label] = _figures([one.accuracies.defended for one in members])
        verdicts = [one.verdict.robust_accuracy for one in members if one.verdict is not None]
        if len(verdicts) == len(members):
            rows[label][_VERDICT] = verdicts
    return rows


def _figures(accuracies: Sequence[Mapping[str, float]]) -> Figures:
    """Accuracies over the seeds, clean and under each attack in the way that leaves least."""
    figures = {"clean": [one["clean"] for one in accuracies]}
    for attack in ATTACKS:
        ways = [
            [value for name, value in one.items() if name.split(",")[0] == attack]
            for one in accuracies
        ]
        figures[attack] = [min(values) for values in ways]
    return figures


def _doubted(groups: Mapping[str, Sequence[DefendResult]]) -> list[str]:
    """A line for each setting whose verdict is not to be believed."""
    lines = []
    for label, members in groups.items():
        failed = {
            check
            for one in members
            if one.verdict is not None and not one.verdict.believable
            for check in one.verdict.checks_failed
        }
        if failed:
            lines.append(f"{label}: verdict NOT TO BE BELIEVED ({', '.join(sorted(failed))})")
    return lines
