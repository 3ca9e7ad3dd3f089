"""The pictures of a poisoning study: before and after, confusions, and over several seeds the curve against the dose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from advlab.plots.confusion import side_by_side
from advlab.plots.defence import trade
from advlab.plots.poison import doses
from advlab.plots.style import save
from advlab.runs.files import write_json, write_text
from advlab.runs.table import spread, table
from advlab.texts._set import TextSet

_GROUPS = {"accuracy": "all", "entity_accuracy": "the entity's", "other_accuracy": "all others"}
_PLAIN = tuple(f"{key}_{when}" for key in _GROUPS for when in ("before", "after"))


def draw(folder: Path, metrics: dict[str, Any], data: TextSet) -> None:
    """Bars before and after, and confusion matrices side by side."""
    first, last = metrics["doses"][0], metrics["doses"][-1]
    caption = _caption(metrics)
    bars = {"clean": _bars([first]), f"{last['flipped']} labels poisoned": _bars([last])}
    if "control" in last:
        bars[f"{last['control']['flipped']} flipped at random"] = {
            words: [last["control"][key]] for key, words in _GROUPS.items() if last["control"][key] is not None
        }
    title = f"Accuracy before and after: {metrics['entity']}, {metrics['model']}"
    save(trade(bars, len(data.classes), title, caption), folder / "before_after.png")
    tables = {
        "clean: all texts": first["confusion"],
        "poisoned: all texts": last["confusion"],
        "clean: the entity's": first["entity_confusion"],
        "poisoned: the entity's": last["entity_confusion"],
    }
    arrays = {name: np.array(counts, dtype=np.int64) for name, counts in tables.items()}
    save(
        side_by_side(arrays, data.classes, f"What texts are taken for: {metrics['entity']}", caption, unit="texts"),
        folder / "confusion.png",
    )


def _bars(points: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    found = {words: [point[key] for point in points if point[key] is not None] for key, words in _GROUPS.items()}
    siblings = [share for point in points for share in point["sibling_accuracy"].values() if share is not None]
    return {**{words: values for words, values in found.items() if values}, **({"siblings'": [mean(siblings)]} if siblings else {})}


def _caption(metrics: Mapping[str, Any]) -> str:
    towards = f" towards {metrics['target']}" if metrics["target"] else ""
    counts = metrics["entity_texts"]
    return (
        f"{metrics['origin']} · {metrics['attack']}{towards}, {counts['train']} training and {counts['test']} test texts "
        f"name the entity · seed {metrics['seed']}"
    )


def conclude(groups: Mapping[str, Sequence[dict[str, Any]]], folder: Path, caption: str) -> list[str]:
    """Over the seeds of each setting: the curve against the dose, a table of it, what was detected, and all of it as JSON."""
    lines: list[str] = []
    result: dict[str, Any] = {}
    for label, members in groups.items():
        curve = _curve(members)
        rows = []
        for dose, point in curve.items():
            shares = [_shown(key, point[key]) for key in list(_COLUMNS)[1:]]
            rows.append([f"{100 * dose:g} %", f"{mean(point['flipped']):.0f}", *shares])
        text = table([label, *_COLUMNS.values()], rows)
        lines.append(text)
        found = _detected(members)
        if found:
            lines.append(found)
        slug = "" if len(groups) == 1 else "-" + "".join(c if c.isalnum() else "_" for c in label)
        title = f"{members[0]['entity']}: accuracy against the dose, {members[0]['model']}"
        series = {
            words: {dose: point[key] for dose, point in curve.items() if point[key]}
            for key, words in {**_GROUPS, "control": "the entity's, random flips", "attack_success": "success of the attack"}.items()
        }
        save(doses({name: points for name, points in series.items() if points}, title, caption), folder / f"doses{slug}.png")
        result[label] = _summary(members)
    write_text(folder / "doses.md", "\n\n".join([*lines, caption]) + "\n")
    write_json(folder / "poison.json", result)
    return lines


_COLUMNS = {
    "flipped": "poisoned",
    "accuracy": "accuracy",
    "entity_accuracy": "on the entity",
    "other_accuracy": "on others",
    "siblings": "siblings",
    "attack_success": "success",
    "swap": "without its name",
    "control": "entity, random flips",
}


def _shown(key: str, values: Sequence[float]) -> str:
    """Shares in percent; of a shift of log-probabilities, its mean."""
    if not values:
        return "–"
    return f"{mean(values):+.2f}" if key == "swap" else spread(values)


def _curve(members: Sequence[Mapping[str, Any]]) -> dict[float, dict[str, list[float]]]:
    """By dose, the values of all seeds."""
    curve: dict[float, dict[str, list[float]]] = {}
    for metrics in members:
        for point in metrics["doses"]:
            siblings = [share for share in point["sibling_accuracy"].values() if share is not None]
            values = {
                "flipped": point["flipped"],
                "accuracy": point["accuracy"],
                "entity_accuracy": point["entity_accuracy"],
                "other_accuracy": point["other_accuracy"],
                "siblings": mean(siblings) if siblings else None,
                "attack_success": point["attack_success"],
                "swap": point["swap_shift"],
                "control": point.get("control", {}).get("entity_accuracy"),
            }
            at = curve.setdefault(point["dose"], {key: [] for key in values})
            for key, value in values.items():
                at[key] += [] if value is None else [value]
    return curve


def _detected(members: Sequence[Mapping[str, Any]]) -> str:
    """Every method at every dose, over the seeds."""
    found: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for metrics in members:
        for point in metrics["doses"]:
            for name, said in point.get("detection", {}).items():
                found.setdefault((name, point["dose"]), []).append(said)
    rows = []
    for (name, dose), said in found.items():
        phrases = [one["phrase"] for one in said if one.get("phrase")]
        often = max(set(phrases), key=phrases.count) if phrases else ""
        named = f" ({often!r})" if often else ""
        figures = [spread([one[key] for one in said]) for key in ("precision", "recall")]
        entity = spread([one["repaired"]["entity_accuracy"] for one in said])
        scores = [_number([one[key] for one in said]) for key in ("auroc", "auprc")]
        rows.append(
            [f"{name}{named}", f"{100 * dose:g} %", *scores, *figures, entity, f"{mean(one['clean_rows_lost'] for one in said):.0f}"]
        )
    header = ["found by", "dose", "AUROC", "AUPRC", "precision", "recall", "entity, repaired", "clean rows lost"]
    return table(header, rows) if rows else ""


def _number(values: Sequence[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _summary(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and standard deviations of the plain figures of ``metrics.json``, over the seeds."""
    one = members[0]
    found: dict[str, Any] = {
        "entity": one["entity"],
        "dose": one["dose"],
        "seeds": len(members),
        "flipped": mean(m["flipped"] for m in members),
    }
    for key in (*_PLAIN, "attack_success"):
        values = [metrics[key] for metrics in members if metrics.get(key) is not None]
        if values:
            found[key] = mean(values)
            found[f"{key}_std"] = stdev(values) if len(values) > 1 else None
    for key in ("auroc", "auprc"):
        # By method. Runs of an earlier version hold a single figure, which says nothing of any one method.
        by_method = [metrics[key] for metrics in members if isinstance(metrics.get(key), dict)]
        if by_method:
            found[key] = {method: mean(one[method] for one in by_method) for method in by_method[0]}
            several = len(by_method) > 1
            found[f"{key}_std"] = {method: stdev(one[method] for one in by_method) if several else None for method in by_method[0]}
    return found
