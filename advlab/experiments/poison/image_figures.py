"""Figures of ``advlab poison`` for image models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from advlab.config.options.poison import CLEAN_LABEL
from advlab.config.references import dataset_title
from advlab.data.image_set import ImageSet
from advlab.experiments.poison.repair_figures import TRIGGER_WORDS, draw_repairs, repair_tables
from advlab.experiments.poison.summary import (
    Curve,
    rate_column,
    slug_of,
    summary_of,
    write_summaries,
)
from advlab.plots.poison import against_rate
from advlab.plots.sheets import Attacked, Tile, attacked, sheet
from advlab.plots.style import save
from advlab.poisoning.images import PoisonedImages
from advlab.results.poison import ImagePoisonResult
from advlab.runs.files import write_text
from advlab.runs.results import Finished
from advlab.runs.table import percent, spread, table

SHOWN_TRIGGERED = 4
_SHOWN_POISONED = 12
_SUCCESSFUL = {**TRIGGER_WORDS, "flip": "the flipped labels", "gradient-matching": "the test image"}


def draw(
    folder: Path,
    result: ImagePoisonResult,
    poisoned: PoisonedImages,
    examples: Sequence[Attacked],
    data: ImageSet,
) -> None:
    """The first of the poisoned training images, and of the test images with the trigger, or of the
    training images that were perturbed."""
    counts = f"{result.poisoned:,} of {result.examples.train:,} training images"
    words = f"{result.attack}, {counts}, to be taken for {result.target}"
    if result.aimed is not None:
        words = f"{counts}, so that test image no. {result.aimed:,} is taken for {result.target}"
    caption = f"{data.origin} · {words} · seed {result.seed}"
    tiles = [
        Tile(
            poisoned.train.inputs(slice(row, row + 1), "cpu")[0].numpy(),
            f"no. {row}: true {data.classes[old]}\nlabelled {result.target}",
        )
        for row, old in zip(
            poisoned.rows.tolist()[:_SHOWN_POISONED], poisoned.old.tolist(), strict=False
        )
    ]
    title = f"Training images of {dataset_title(data.name)} poisoned by {result.attack}, "
    title += f"towards {result.target}: {len(tiles)} of {result.poisoned:,}"
    save(sheet(tiles, title, caption), folder / "poisoned.png")
    if examples and result.aimed is not None:
        title = f"Training images of {dataset_title(data.name)} before and after {result.attack}: "
        title += f"{result.model} trained at a poison rate of {100 * result.poison_rate:g} %"
        save(attacked(examples, title, caption), folder / "perturbed.png")
    elif examples:
        title = f"Test images of {dataset_title(data.name)} without and with "
        title += f"{_SUCCESSFUL[result.attack]}: "
        title += f"{result.model} trained at a poison rate of {100 * result.poison_rate:g} %"
        save(attacked(examples, title, caption), folder / "triggered.png")


def draw_aimed(folder: Path, result: ImagePoisonResult, data: ImageSet) -> None:
    """The one test image that the attack is after, and what networks without and with poison give
    the target on it."""
    assert result.aimed is not None
    first, last = result.points[0], result.points[-1]
    given = [
        f"{words}: {percent(point.target_probability or 0.0)}"
        for words, point in (("without poison", first), ("with poison", last))
    ]
    row = slice(result.aimed, result.aimed + 1)
    words = "\n".join([f"true {result.source}", f"probability of {result.target}", *given])
    title = f"Test image no. {result.aimed:,} of {dataset_title(data.name)}, which is to be taken "
    title += f"for {result.target}: {result.model}, {result.poisoned:,} poisoned training images"
    tile = Tile(data.test.inputs(row, "cpu")[0].numpy(), words)
    caption = f"{data.origin} · {result.attack} · seed {result.seed}"
    save(sheet([tile], title, caption), folder / "aimed.png")


def _poisonable(result: ImagePoisonResult) -> str:
    """The training images that a poison rate is a fraction of."""
    if result.source is not None:
        return f"the training images of {result.source}"
    if result.attack in CLEAN_LABEL:
        return f"the training images of {result.target}"
    return "all training images"


def conclude(
    groups: Mapping[str, Sequence[Finished[ImagePoisonResult]]],
    folder: Path,
    caption: str,
) -> list[str]:
    """Over the seeds: the curve against the poison rate, and a table of it.

    Returns:
        Lines to print.
    """
    lines = []
    summaries = {}
    for label, finished in groups.items():
        members = [run.result for run in finished]
        curve: Curve = {}
        for result in members:
            for point in result.points:
                at = curve.setdefault(
                    point.poison_rate,
                    {"poisoned": [], "accuracy": [], "attack_success": []},
                )
                at["poisoned"].append(point.poisoned)
                at["accuracy"].append(point.accuracy)
                at["attack_success"].append(point.attack_success)
        rows = [
            [
                f"{100 * rate:g} %",
                f"{mean(at['poisoned']):.0f}",
                spread(at["accuracy"]),
                spread(at["attack_success"]),
            ]
            for rate, at in curve.items()
        ]
        lines.append(table([rate_column(label), "poisoned", "accuracy", "attack success"], rows))
        lines += repair_tables(members)
        draw_repairs(members, folder / f"repairs{slug_of(label, groups)}.png", caption)
        first = members[0]
        drawn = against_rate(
            {"all test images": {rate: at["accuracy"] for rate, at in curve.items()}},
            {rate: at["attack_success"] for rate, at in curve.items()},
            first.classes,
            f"Poisoning by {first.attack} towards {first.target}: {first.model} on "
            f"{dataset_title(first.dataset)}",
            caption,
            examples="test images",
            attack=_SUCCESSFUL[first.attack],
            setting=f"poison rate: part of {_poisonable(first)} that is poisoned (%)",
        )
        save(drawn, folder / f"poison_rates{slug_of(label, groups)}.png")
        summaries[label] = summary_of(
            members,
            ("accuracy_before", "accuracy_after", "attack_success"),
        )
    write_text(folder / "poison_rates.md", "\n\n".join([*lines, caption]) + "\n")
    write_summaries(folder, summaries)
    return lines
