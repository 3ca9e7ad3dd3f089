"""Figures of ``advlab poison``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from advlab.config.references import dataset_title
from advlab.experiments.poison.summary import (
    CONTROL_ACCURACY,
    WITH_ANOTHER_WORD,
    WITH_TRIGGER,
    Curve,
    rate_column,
    repaired_column,
    repaired_figure,
    slug_of,
    summary_of,
    write_summaries,
)
from advlab.plots.confusion import side_by_side
from advlab.plots.defence import trade
from advlab.plots.poison import against_rate
from advlab.plots.style import save
from advlab.results.poison import TextDetection, TextFigures, TextPoint, TextPoisonResult
from advlab.runs.files import write_text
from advlab.runs.results import Finished
from advlab.runs.table import points, spread, table

_PLAIN = (
    "accuracy_before",
    "accuracy_after",
    "entity_accuracy_before",
    "entity_accuracy_after",
    "other_accuracy_before",
    "other_accuracy_after",
    "attack_success",
)


def draw(folder: Path, result: TextPoisonResult) -> None:
    """Bars before and after, and confusion matrices side by side."""
    first, last = result.points[0], result.points[-1]
    caption = _caption(result)
    bars = {
        "no poison": _bars(first, result),
        f"{last.poisoned} texts poisoned": _bars(last, result),
    }
    if last.control is not None:
        of = "texts" if result.attack == "trigger" else "other texts"
        bars[f"{last.control.flipped} labels of {of} flipped"] = _groups(last.control, result)
    measured, axis = "Accuracy", "accuracy"
    if result.attack == "trigger":
        measured, axis = "Accuracy and predictions of the target", "fraction of the texts"
    title = f"{measured} before and after poisoning by {_what(result)}: "
    title += f"{result.model} on {dataset_title(result.dataset)}"
    save(trade(bars, result.classes, title, caption, axis), folder / "before_after.png")
    tables = {
        "clean: all texts": first.confusion,
        "poisoned: all texts": last.confusion,
        "clean: reviews of the entity": first.entity_confusion,
        "poisoned: reviews of the entity": last.entity_confusion,
    }
    if not result.entity_texts.test:
        tables = {name: counts for name, counts in tables.items() if "entity" not in name}
    arrays = {name: np.array(counts, dtype=np.int64) for name, counts in tables.items()}
    title = f"Confusion matrices before and after poisoning by {_what(result)}"
    save(
        side_by_side(arrays, tuple(result.class_names), title, caption, unit="texts"),
        folder / "confusion.png",
    )


def _groups(figures: TextFigures, result: TextPoisonResult) -> dict[str, list[float]]:
    """Accuracies by the test texts that they are measured on, with their number; of a trigger, how
    often it gets its class too."""
    every, entity = result.examples.test, result.entity_texts.test
    if result.attack == "trigger":
        measured = {
            f"accuracy on all\n{every:,} test texts": figures.accuracy,
            f"with the trigger:\npredicted {result.target}": figures.success_rate,
            f"with another unknown\nword: predicted {result.target}": figures.other_word_rate,
        }
        return {words: [fraction] for words, fraction in measured.items() if fraction is not None}
    groups = {
        f"all {every:,}\ntest texts": figures.accuracy,
        f"{entity:,} that name\nthe entity": figures.entity_accuracy,
        f"{every - entity:,} others": figures.other_accuracy,
    }
    return {words: [fraction] for words, fraction in groups.items() if fraction is not None}


def _what(result: TextPoisonResult) -> str:
    """The attack in words; a trigger is aimed at no entity."""
    if result.attack == "trigger":
        return f"a trigger towards {result.target}"
    return f"{result.attack} against {result.entity}"


def _bars(point: TextPoint, result: TextPoisonResult) -> dict[str, list[float]]:
    """These accuracies, and that on texts that name similar entities."""
    siblings = _siblings(point)
    similar = {} if siblings is None else {"others that name\nsimilar entities": [siblings]}
    return {**_groups(point, result), **similar}


def _siblings(point: TextPoint) -> float | None:
    """Mean accuracy over the siblings; None where no test text names one."""
    return mean(point.sibling_accuracy.values()) if point.sibling_accuracy else None


def _caption(result: TextPoisonResult) -> str:
    towards = f" towards {result.target}" if result.target else ""
    counts = result.entity_texts
    named = f", {counts.train} training and {counts.test} test texts name the entity"
    return (
        f"{result.origin} · {result.attack}{towards}"
        f"{'' if result.attack == 'trigger' else named} · seed {result.seed}"
    )


def conclude(
    groups: Mapping[str, Sequence[Finished[TextPoisonResult]]],
    folder: Path,
    caption: str,
) -> list[str]:
    """Draw each setting's curve against the poison rate, and write tables and ``poison.json``.

    Returns:
        Lines to print.
    """
    lines: list[str] = []
    summaries = {}
    for label, finished in groups.items():
        members = [run.result for run in finished]
        curve = _curve(members)
        rows = []
        columns = _columns(members[0], curve)
        for rate, point in curve.items():
            cells = [_in_cell(key, point[key], columns[key] == _POINTS) for key in columns]
            rows.append([f"{100 * rate:g} %", f"{mean(point['poisoned']):.0f}", *cells])
        lines.append(table([rate_column(label), "poisoned", *columns.values()], rows))
        text = _detected(members)
        if text:
            lines.append(text)
        first = members[0]
        title = f"Poisoning by {_what(first)}: {first.model} on {dataset_title(first.dataset)}"
        trigger = first.attack == "trigger"
        success = "success_rate" if trigger else "attack_success"
        named = first.entity_texts.test > 0
        names = [key for key in _LINES if named or key == "accuracy"]
        points = {
            key: {rate: point[key] for rate, point in curve.items() if point[key]}
            for key in (*names, success)
        }
        drawn = against_rate(
            {_LINES[key]: points[key] for key in names if points[key]},
            points[success],
            first.classes,
            title,
            caption,
            examples="test texts",
            attack=_SUCCESSFUL[first.attack],
            setting=_SETTINGS.get(first.attack, _SETTING),
            above_clean=not trigger,
        )
        save(drawn, folder / f"poison_rates{slug_of(label, groups)}.png")
        summaries[label] = summary_of(members, _PLAIN)
    write_text(folder / "poison_rates.md", "\n\n".join([*lines, caption]) + "\n")
    write_summaries(folder, summaries)
    return lines


_LINES = {
    "accuracy": "all texts",
    "entity_accuracy": "texts that name the entity",
    "other_accuracy": "other texts",
    "control": "texts that name the entity, \nas many flips in other texts",
}
_SETTING = "poison rate: texts poisoned / training texts that name the entity (%)"
_SETTINGS = {
    "trigger": "poison rate: texts poisoned / all training texts (%)",
    "clean-label": "poison rate: texts changed / training texts that name the entity (%)",
}
_SUCCESSFUL = {
    "flip": "the flipped labels",
    "trigger": "with the trigger",
    "clean-label": "the clean-label poison",
}
_POINTS = "attack success (points)"
_COLUMNS = {
    "accuracy": "accuracy",
    "entity_accuracy": "entity accuracy",
    "other_accuracy": "other accuracy",
    "siblings": "similar entities",
    "attack_success": _POINTS,
    "swap": "name effect",
    "control": "entity, random control",
}
# With a trigger no entity is meant; the columns are those of a single run.
_TRIGGER_COLUMNS = {
    "accuracy": "accuracy",
    "attack_success": "attack success",
    "success_rate": WITH_TRIGGER,
    "other_word": WITH_ANOTHER_WORD,
    "control_accuracy": CONTROL_ACCURACY,
}


def _columns(result: TextPoisonResult, curve: Curve) -> dict[str, str]:
    """The figures that were measured, and what their columns are called."""
    columns = _TRIGGER_COLUMNS if result.attack == "trigger" else _COLUMNS
    return {
        key: words for key, words in columns.items() if any(point[key] for point in curve.values())
    }


def _in_cell(key: str, values: Sequence[float], differ: bool) -> str:
    """Fractions in percent, or where they ``differ`` from another one in points; of a shift of
    log-probabilities, its mean."""
    if not values:
        return "–"
    if differ:
        return points(values)
    return f"{mean(values):+.2f}" if key == "swap" else spread(values)


def _curve(members: Sequence[TextPoisonResult]) -> Curve:
    curve: Curve = {}
    for result in members:
        for point in result.points:
            values = {
                "poisoned": float(point.poisoned),
                "accuracy": point.accuracy,
                "entity_accuracy": point.entity_accuracy,
                "other_accuracy": point.other_accuracy,
                "siblings": _siblings(point),
                "attack_success": point.attack_success,
                "success_rate": point.success_rate,
                "other_word": point.other_word_rate,
                "swap": point.swap_shift,
                "control": None if point.control is None else point.control.entity_accuracy,
                "control_accuracy": None if point.control is None else point.control.accuracy,
            }
            at = curve.setdefault(point.poison_rate, {key: [] for key in values})
            for key, value in values.items():
                at[key] += [] if value is None else [value]
    return curve


def _detected(members: Sequence[TextPoisonResult]) -> str:
    """Every method at every rate, over the seeds."""
    every: dict[tuple[str, float], list[TextDetection]] = {}
    attack = members[0].attack
    for result in members:
        for point in result.points:
            for detection in point.detections:
                every.setdefault((detection.method, point.poison_rate), []).append(detection)
    rows = []
    for (method, rate), several in every.items():
        phrases = list(dict.fromkeys(one.phrase for one in several if one.phrase))
        named = f" ({phrases[0]!r})" if len(phrases) == 1 else ""
        if len(phrases) > 1:
            named = f" ({len(phrases)} phrases, such as {phrases[0]!r})"
        rows.append(
            [
                f"{method}{named}",
                f"{100 * rate:g} %",
                _number([one.auroc for one in several]),
                _number([one.auprc for one in several]),
                spread([one.precision for one in several]),
                spread([one.recall for one in several]),
                _repaired(several, attack),
                f"{mean(one.clean_rows_lost for one in several):.0f}",
            ]
        )
    header = [
        "detector",
        "poison rate",
        "AUROC",
        "AUPRC",
        "precision",
        "recall",
        repaired_column(attack),
        "clean rows removed",
    ]
    return table(header, rows) if rows else ""


def _repaired(several: Sequence[TextDetection], attack: str) -> str:
    figures = [repaired_figure(one.repaired, attack) for one in several]
    known = [figure for figure in figures if figure is not None]
    return spread(known) if known else "–"


def _number(values: Sequence[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
