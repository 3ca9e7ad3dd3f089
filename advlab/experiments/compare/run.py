"""``advlab compare RUN RUN …``: finished runs beside each other, whatever lines they came from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from advlab.config.options.compare import CompareOptions
from advlab.config.radii import eps_text, norm_name
from advlab.config.references import dataset_title
from advlab.errors import UsageError
from advlab.experiments.comparison import (
    MIXED,
    Compared,
    comparison_result,
    comparison_table,
    draw_curves,
    examples_of,
    grouped,
    intervals_of,
    named,
    seeds_of,
    shared_conditions,
    threat_models,
    what_of,
)
from advlab.experiments.comparison import (
    differences as unlike_measured,
)
from advlab.experiments.labels import full_names_of, labels_of
from advlab.experiments.named_runs import finished_run
from advlab.plots.comparison import comparison
from advlab.plots.style import save
from advlab.results.attack import PhotoAttackResult
from advlab.results.comparison import ComparisonResult, JointAccuracy
from advlab.results.evaluate import DetectionResult
from advlab.results.train import TrainResult
from advlab.runs import identity, results
from advlab.runs.files import write_text
from advlab.runs.folder import RunFolder, files_in
from advlab.runs.identity import Identity
from advlab.runs.results import Finished, Headline, Result
from advlab.runs.table import latex


@dataclass(frozen=True)
class _Figure:
    """What is compared.

    Attributes:
        headline: the figure.
        values: of each run, in their order.
        holds_for: what all of them hold for; empty where they differ.
    """

    headline: Headline
    values: Sequence[float]
    holds_for: str


def main(names: Sequence[str], options: CompareOptions) -> int:
    """Compare the named runs by the figure that all of them are about.

    Runs that differ in the seed alone are one setting, with mean and standard deviation. Robust
    accuracies are compared at the largest ε that all runs have.

    Args:
        names: folders as ``advlab list`` prints them, or ``command/name`` under ``options.out``.

    Returns:
        The exit status, 0.

    Raises:
        UsageError: fewer than two runs are named, one of them is none, or is named twice, or their
            figures do not compare and ``--anyway`` is not given.
        EnvironmentFailure: a result is damaged, or a file cannot be written.
    """
    runs = [_run(name, Path(options.out)) for name in names]
    places = [run.folder.resolve() for run in runs]
    for place, name in zip(places, names, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"compare: {name} is named twice")
    if len(runs) < 2:
        raise UsageError(
            "compare: name two or more runs, such as attack/ONE attack/TWO; 'advlab list' shows "
            "all runs"
        )
    runs = _once(runs, told=options.format == "table")
    figure = _figure(runs)
    runs = [replace(run, result=run.result.about(figure.headline)) for run in runs]
    differences = _differences(runs, figure)
    if differences and not options.anyway:
        sentences = "; ".join(chain.from_iterable(differences.values()))
        raise UsageError(
            f"compare: {sentences}: the figures do not compare; --anyway shows them beside each "
            "other all the same"
        )
    cells = [
        Compared(label, run, value)
        for label, run, value in zip(labels_of(runs), runs, figure.values, strict=True)
    ]
    joint = _joint(runs, options) if options.ensemble else []
    folder = _folder(runs, options)
    folder.check_same()
    with folder.claim(), folder.begin():
        _write(cells, figure, differences, joint, folder.path, options)
    return 0


def _joint(runs: Sequence[Finished[Result]], options: CompareOptions) -> list[JointAccuracy]:
    """The networks of the runs judged together.

    Raises:
        UsageError: they do not go together, or the form of the table has no room for it.
    """
    if options.format != "table":
        raise UsageError(f"--ensemble: goes with --format table, not with {options.format}")
    # It loads networks and data, which no other comparison does.
    from advlab.experiments.compare.joint import joint_accuracies

    return joint_accuracies(runs, options)


def _joint_tables(joint: Sequence[JointAccuracy], runs: Sequence[Result]) -> list[str]:
    """A table for each part of the data."""
    if not joint:
        return []
    from advlab.experiments.compare.joint import joint_table

    of_texts = any(isinstance(run, TrainResult) and run.unit == "texts" for run in runs)
    return [joint_table(one, "text" if of_texts else "image") for one in joint]


def _once(runs: Sequence[Finished[Result]], told: bool) -> list[Finished[Result]]:
    """The runs without copies: another name makes no further repetition of a run. On another
    machine the same line may give another figure, and counts.

    Args:
        told: whether a line names each copy.

    Raises:
        UsageError: one run is left.
    """
    unique: dict[object, Finished[Result]] = {}
    for run in runs:
        made_of = identity.read(run.folder)
        key = run.folder if made_of is None else (made_of.text(), run.result.headline_value())
        if key in unique and told:
            print(f"{run.folder} is the same run as {unique[key].folder}, which counts once")
        unique.setdefault(key, run)
    if len(unique) < 2:
        raise UsageError("compare: these are one run under several names")
    return list(unique.values())


_APART = "not comparable: "  # what a reason begins with
_ROBUST = Headline("robust_accuracy", "robust accuracy", lower_is_better=True)


def _run(name: str, out: Path) -> Finished[Result]:
    """The finished run of that name.

    Raises:
        UsageError: there is none, or it is not one that compares.
        EnvironmentFailure: its result is damaged.
    """
    run = finished_run(name, out, "compare")
    if isinstance(run.result, ComparisonResult):
        raise UsageError(
            f"compare: {run.folder} is a comparison itself; name its runs, which its metrics.json "
            "lists"
        )
    if run.result.headline_of() is None:
        raise UsageError(f"compare: {run.folder} has no figure that could be compared")
    return run


def _figure(runs: Sequence[Finished[Result]]) -> _Figure:
    """The figure that the runs are compared by.

    Raises:
        UsageError: they are about different figures.
    """
    headlines = [run.result.headline_of() or run.result.headline for run in runs]
    figures = {(one.quantity, one.fraction) for one in headlines if one is not None}
    if len(figures) > 1:  # such as attacks of which some look for the smallest perturbation
        usual = [run.result.headline or own for run, own in zip(runs, headlines, strict=True)]
        if all(one and run.result.has(one) for run, one in zip(runs, usual, strict=True)):
            headlines = usual
    if len({headline.quantity for headline in headlines if headline}) > 1 and all(
        isinstance(getattr(run.result, "robust_accuracy", None), float)
        # Beside a detector that figure is the one without it, and no result is about it.
        and not isinstance(run.result, DetectionResult)
        for run in runs
    ):  # such as the success of a patch beside an attack within a ball
        headlines = [_ROBUST] * len(runs)
    first = headlines[0]
    assert first is not None
    for run, headline in zip(runs, headlines, strict=True):
        assert headline is not None
        if (headline.quantity, headline.fraction) != (first.quantity, first.fraction):
            raise UsageError(
                f"compare: {runs[0].folder} is about {first.quantity} and {run.folder} about "
                f"{headline.quantity}, which do not compare"
            )
    curves = [run.result.robustness_curve() for run in runs]
    known = [dict(curve.points) for curve in curves if curve is not None]
    norms = {curve.norm for curve in curves if curve is not None}
    common = set.intersection(*map(set, known)) if len(known) == len(runs) else set()
    results = [run.result.about(first) for run in runs]
    # Smallest perturbations do not compare where they were searched up to different ε.
    searched = not shared_conditions(results) and len({one.compared_under() for one in results}) > 1
    if searched and common and len(norms) == 1:
        first = _ROBUST
    if common and len(norms) == 1 and first.quantity == "robust accuracy":
        eps = max(common)
        held = f"at ε = {eps_text(eps)} ({norm_name(norms.pop())})"
        besides = {run.result.besides_radius() for run in runs}
        held += besides.pop() if len(besides) == 1 else ""
        return _Figure(first, [points[eps] for points in known], held)
    values = [
        run.result.headline_value(headline) for run, headline in zip(runs, headlines, strict=True)
    ]
    return _Figure(first, values, shared_conditions(results))


def _differences(runs: Sequence[Finished[Result]], figure: _Figure) -> dict[str, list[str]]:
    """Why the figures do not compare, in sentences, by what differs; empty where they do."""
    first = runs[0]
    reasons: dict[str, list[str]] = {}
    for run in runs[1:]:
        if run.result.data_sha256 != first.result.data_sha256:
            reasons.setdefault("data", []).append(_other_data(first, run))
        elif difference := _other_examples(first, run):
            reasons.setdefault("examples", []).append(difference)
    threats = threat_models([run.result for run in runs])
    if figure.holds_for and len(threats) > 1:
        reasons["threat models"] = [f"threat models: {'; '.join(threats)}"]
    elif figure.holds_for and len({run.result.goal() for run in runs}) > 1:
        reasons["targets"] = [f"{run.folder}: {run.result.goal() or 'untargeted'}" for run in runs]
    if not figure.holds_for and len({run.result.compared_under() for run in runs}) > 1:
        quantity = figure.headline.quantity
        reasons["conditions"] = [
            f"{run.folder}: {quantity} {run.result.conditions()}".rstrip() for run in runs
        ]
    return reasons


def _other_data(first: Finished[Result], second: Finished[Result]) -> str:
    """That two runs are on other data, in words."""
    runs = (first, second)
    photos = [run.result.image for run in runs if isinstance(run.result, PhotoAttackResult)]
    if len(photos) == len(runs):
        return f"{first.folder} and {second.folder} are of other photos ({' and '.join(photos)})"
    names = [dataset_title(run.result.dataset) for run in runs]
    if len(set(names)) > 1:
        return f"{first.folder} is on {names[0]} and {second.folder} on {names[1]}"
    hashes = " and ".join(str(run.result.data_sha256)[:12] for run in runs)
    return (
        f"{first.folder} and {second.folder} have data of the same name with other content, or "
        f"split otherwise ({hashes})"
    )


def _other_examples(first: Finished[Result], second: Finished[Result]) -> str:
    """That two runs on the same data were measured on other examples of them, or that a result
    does not say on which; empty where they are the same."""
    one, other = first.result.measured_on(), second.result.measured_on()
    if one.same_as(other):
        return ""
    if one.words != other.words:
        return f"{first.folder} was measured on {one.words} and {second.folder} on {other.words}"
    unknown = [run.folder for run in (first, second) if run.result.measured_on().which is None]
    if unknown:
        return f"{unknown[0]} is of an earlier version and does not say of what it is, {one.words}"
    return f"{first.folder} and {second.folder} were measured on others, {one.words} each"


def _folder(runs: Sequence[Finished[Result]], options: CompareOptions) -> RunFolder:
    """The folder of the comparison, which is known by the content of its runs."""
    contents = {
        name: hashlib.sha256((run.folder / results.FILE).read_bytes()).hexdigest()
        for name, run in zip(full_names_of(runs), runs, strict=True)
    }
    digest = hashlib.sha256(json.dumps(contents).encode()).hexdigest()
    commands = "+".join(dict.fromkeys(run.result.command for run in runs))
    kind = "ensemble" if options.ensemble else "runs"
    drawn_by = {"ensemble": True} if options.ensemble else {}
    return RunFolder(
        path=Path(options.out) / "compare" / (options.name or f"{commands}-{kind}-{digest[:10]}"),
        identity=Identity("compare", commands, drawn_by, contents),
        config=f"# advlab compare {' '.join(str(run.folder) for run in runs)}"
        f"{' --ensemble' if options.ensemble else ''}\n",
        defaults={},
        overwrite=options.overwrite,
        resume=False,
    )


def _write(
    cells: Sequence[Compared[Result]],
    figure: _Figure,
    differences: Mapping[str, Sequence[str]],
    joint: Sequence[JointAccuracy],
    folder: Path,
    options: CompareOptions,
) -> None:
    """Write and draw the comparison, and print its table."""
    groups, headline = grouped(cells), figure.headline
    every = [cell.run.result for cell in cells]
    mixed = len(threat_models(every)) > 1
    words = f"{headline.words} {figure.holds_for}".strip()
    apart = not figure.holds_for and len({result.conditions() for result in every}) > 1
    text = comparison_table(groups, headline, words, apart)
    origins = " and ".join(sorted({result.origin for result in every}))
    tested = [words for words in [examples_of(every)] if words and not differences]
    caption = " · ".join([origins, *tested, seeds_of(cells), *([MIXED] if mixed else [])])
    notes = [f"{_APART}{'; '.join(reasons)}" for reasons in differences.values()]
    tables = [text, *_joint_tables(joint, every)]
    write_text(folder / "table.md", "\n\n".join([*tables, *notes, caption]) + "\n")
    under = [*notes, caption]
    if differences:  # a picture has room for what differs, and not for how
        caption += f" · not comparable: they differ in {' and '.join(differences)} (see table.md)"
    commands = "+".join(dict.fromkeys(result.command for result in every))
    differ = unlike_measured(every, figure.holds_for)
    result = comparison_result(commands, groups, headline, [], figure.holds_for, differ)
    results.write(folder, result.model_copy(update={"ensemble": list(joint)}))
    title = f"{words[0].upper()}{words[1:]} {what_of(every)}"
    rows = {
        named(label, members, apart): [cell.value for cell in members]
        for label, members in groups.items()
    }
    drawn = comparison(
        rows,
        headline.quantity,
        title,
        caption,
        percent=headline.fraction,
        intervals=intervals_of(groups, headline, apart),
    )
    save(drawn, folder / "comparison.png")
    quantity = headline.quantity
    by_eps = f"{quantity[0].upper()}{quantity[1:]} by ε {what_of(every)}"
    draw_curves(groups, by_eps, caption, folder)
    if options.format == "table":
        print("\n\n".join(tables))
        for note in [*notes, *([MIXED] if mixed else [])]:
            print(note)
        print(files_in(folder))
    else:
        records = _records(groups, figure, notes)
        print(_FORMS[options.format](records, figure.headline, under))


def _records(
    groups: Mapping[str, Sequence[Compared[Result]]], figure: _Figure, notes: Sequence[str]
) -> list[Mapping[str, object]]:
    """A record for each run, with figures as numbers.

    Args:
        notes: why the runs do not compare.
    """
    return [
        {
            "setting": label,
            "run": str(cell.run.folder),
            "network": cell.run.result.model or "",
            "seed": cell.run.result.seed,
            "dataset": cell.run.result.dataset,
            "figure": figure.headline.field,
            "value": cell.value,
            "holds": figure.holds_for or cell.run.result.conditions(),
            "doubt": cell.run.result.doubt(),
            "not_comparable": "; ".join(note.removeprefix(_APART) for note in notes),
            "seconds": cell.run.result.seconds,
        }
        for label, members in groups.items()
        for cell in members
    ]


def _as_csv(records: Sequence[Mapping[str, Any]], headline: Headline, under: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue().rstrip("\n")


def _as_json(records: Sequence[Mapping[str, Any]], headline: Headline, under: Sequence[str]) -> str:
    return json.dumps(records, indent=2, ensure_ascii=False)


def _as_latex(
    records: Sequence[Mapping[str, Any]], headline: Headline, under: Sequence[str]
) -> str:
    optional = ("network", "holds", "doubt")
    used = [name for name in optional if any(record[name] for record in records)]
    names = [
        name
        for name in ("setting", "network", "seed", "dataset", "value", "holds", "doubt")
        if name in used or name not in optional
    ]
    rows = [
        [headline.text(record[name]) if name == "value" else str(record[name]) for name in names]
        for record in records
    ]
    words = {"value": headline.quantity, "dataset": "data set"}
    return latex([words.get(name, name) for name in names], rows, under)


_FORMS = {"csv": _as_csv, "json": _as_json, "latex": _as_latex}
