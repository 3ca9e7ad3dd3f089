"""The one mechanism that compares runs: carry out every cell of a plan, then gather their results.

A cell is nothing but a resolved configuration, claims its own folder, and is skipped where it is finished; so the same
line typed again, or typed in two terminals, does only what is still to do.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from advlab.config.base import identity_of
from advlab.config.resolve import Config, Plan
from advlab.errors import AdvlabError, UserError
from advlab.experiments._heat import heat_map
from advlab.experiments._workers import side_by_side
from advlab.plots.comparison import against, comparison
from advlab.plots.robustness import accuracy_against_eps
from advlab.plots.style import save
from advlab.runs.files import write_json, write_text
from advlab.runs.headline import HEADLINES, Headline
from advlab.runs.table import table

Say = Callable[[str], None]
Runner = Callable[[Config, Say], dict[str, Any]]
# From the runs' metrics by setting, the comparison's folder and a caption: lines to print of what else there is to say.
Conclude = Callable[[Mapping[str, Sequence[dict[str, Any]]], Path, str], list[str]]


def run_plan(plan: Plan, run: Runner, headline: str, conclude: Conclude | None = None) -> int:
    """Carry out a plan. A single cell just runs; several run one after the other and end in a table and a picture.

    A cell that the world stops (a full disk, a loss gone NaN) does not stop the others; typed again, the line tries
    it again. What the user got wrong stops everything at once.

    Args:
        run: carries out one configuration, saying what it does, and returns its metrics.
        headline: the figure among the metrics that the comparison is about.
        conclude: says more about the finished runs of several, and draws it.

    Returns:
        0 where every cell finished, 1 else.
    """
    if len(plan.cells) == 1:
        run(plan.cells[0], _say)
        return 0
    workers = plan.cells[0].options.workers
    results = _in_turn(plan, run) if workers == 1 else _together(plan, run, workers)
    finished = [(label, cell, result) for label, cell, result in zip(plan.labels, plan.cells, results, strict=True) if result is not None]
    if finished:
        _gather(plan, finished, HEADLINES[headline], conclude)
    missing = len(results) - len(finished)
    if missing:
        print(f"{missing} of {len(results)} runs did not finish; the same line tries them again")
    return 1 if missing else 0


def _in_turn(plan: Plan, run: Runner) -> list[dict[str, Any] | None]:
    return [_attempt(run, cell, _headed(_head(plan, place))) for place, cell in enumerate(plan.cells)]


def _together(plan: Plan, run: Runner, workers: int) -> list[dict[str, Any] | None]:
    """The same in several processes; each cell's lines are said when it is done.

    Raises:
        UserError: what the user got wrong, as one cell found; the others are stopped.
    """
    results: list[dict[str, Any] | None] = [None] * len(plan.cells)
    for place, outcome in side_by_side(run, plan.cells, workers):
        say = _headed(_head(plan, place))
        for line in outcome.lines:
            say(line)
        if outcome.mistake:
            raise UserError(outcome.refusal)
        if outcome.refusal:
            say(f"not finished: {outcome.refusal}")
        results[place] = outcome.metrics
    return results


def _head(plan: Plan, place: int) -> str:
    return f"[{place + 1}/{len(plan.cells)}] {plan.labels[place]}, seed {plan.cells[place].options.seed}; "


def _attempt(run: Runner, cell: Config, say: Say) -> dict[str, Any] | None:
    """A cell's metrics; None where the world stopped it."""
    try:
        return run(cell, say)
    except UserError:
        raise
    except (AdvlabError, OSError) as error:
        say(f"not finished: {error}")
        return None


def _say(line: str) -> None:
    print(line, flush=True)


def _headed(head: str) -> Say:
    """What a cell says, its first line with ``head`` before it."""
    heads = [head]

    def say(line: str) -> None:
        _say((heads.pop() if heads else "") + line)

    return say


def _gather(plan: Plan, finished: Sequence[tuple[str, Config, dict[str, Any]]], headline: Headline, conclude: Conclude | None) -> None:
    """Write and draw the comparison: ``table.md``, ``metrics.json``, and a picture or two."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for label, _, metrics in finished:
        groups.setdefault(label, []).append(metrics)
    values = {label: [metrics[headline.key] for metrics in members] for label, members in groups.items()}
    quantity = headline.words
    folder = Path(plan.cells[0].options.out) / "compare" / (plan.name or _name(plan))
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for label, members in groups.items():
        seconds = mean(metrics["seconds"] for metrics in members)
        parameters = members[0].get("parameters")
        each = " ".join(headline.short(value) for value in values[label])
        row = [label, str(len(members)), headline.spread(values[label]), each, f"{parameters:,}" if parameters else "–", f"{seconds:.0f}"]
        rows.append(row)
    text = table(["setting", "runs", quantity, "each", "parameters", "seconds"], rows)
    origins = sorted({metrics["origin"] for _, _, metrics in finished})
    caption = f"{' and '.join(origins)} · {_seeds(finished)}"
    write_text(folder / "table.md", f"{text}\n\n{caption}\n")
    summary = [
        {
            "setting": label,
            "runs": len(members),
            f"{headline.key}_mean": mean(values[label]),
            f"{headline.key}_std": stdev(values[label]) if len(members) > 1 else None,
            "each": [{"seed": metrics["seed"], headline.key: metrics[headline.key], "folder": metrics["folder"]} for metrics in members],
        }
        for label, members in groups.items()
    ]
    dataset = finished[0][2]["dataset"]
    result = {"command": plan.cells[0].command, "dataset": dataset, "headline": headline.key, "settings": summary}
    write_json(folder / "metrics.json", result)
    title = f"{quantity[0].upper()}{quantity[1:]} on {' and '.join(sorted({metrics['dataset'] for _, _, metrics in finished}))}"
    numbers = _numeric_axis(plan, finished, headline.key)
    if numbers is not None:
        save(against(numbers[1], numbers[0], quantity, title, caption, percent=headline.share), folder / "comparison.png")
    else:
        save(comparison(values, quantity, title, caption, percent=headline.share), folder / "comparison.png")
    heat_map(plan, [(cell, metrics[headline.key]) for _, cell, metrics in finished], headline, title, caption, folder)
    if all(len(metrics.get("curve", [])) > 1 for _, _, metrics in finished):
        lines = {
            label: [
                (points[0]["eps"], mean(point["robust_accuracy"] for point in points))
                for points in zip(*(metrics["curve"] for metrics in members), strict=True)
            ]
            for label, members in groups.items()
        }
        classes = finished[0][2]["classes"]
        save(accuracy_against_eps(lines, classes, finished[0][2]["norm"], title, caption), folder / "curves.png")
    print(text)
    for line in conclude(groups, folder, caption) if conclude else []:
        print(line)
    print(f"in {folder}: {', '.join(sorted(path.name for path in folder.iterdir() if path.is_file()))}")


def _seeds(finished: Sequence[tuple[str, Config, dict[str, Any]]]) -> str:
    seeds = sorted({metrics["seed"] for _, _, metrics in finished})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}"


def _numeric_axis(
    plan: Plan, finished: Sequence[tuple[str, Config, dict[str, Any]]], headline: str
) -> tuple[str, dict[float, list[float]]] | None:
    """The one number that was varied beside the seed, and the headline by its value; None where it is not so simple."""
    varied = [name for name in plan.axes if name != "seed"]
    if len(varied) != 1 or len(plan.axes[varied[0]]) < 3:
        return None
    name = varied[0]
    points: dict[float, list[float]] = {}
    for _, cell, metrics in finished:
        value = getattr(cell.options, name, None)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        points.setdefault(float(value), []).append(metrics[headline])
    return name.replace("_", " "), points


def _name(plan: Plan) -> str:
    """A folder name for the comparison, the same for the same plan."""
    first = plan.cells[0]
    identity = json.dumps([[cell.component, identity_of(cell.options)] for cell in plan.cells], sort_keys=True)
    varied = "-".join(name.replace("_", "") for name in plan.axes)
    components = "+".join(dict.fromkeys(cell.component for cell in plan.cells))
    place = f"-{first.options.dataset}" if hasattr(first.options, "dataset") else ""
    readable = re.sub(r"[^A-Za-z0-9._+-]+", "_", f"{first.command}-{components}{place}-by-{varied}")
    return f"{readable[:80]}-{hashlib.sha256(identity.encode()).hexdigest()[:6]}"
