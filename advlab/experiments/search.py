"""The end of a search: its settings by the figure that they are chosen by, and the best one.

Test data select nothing. The settings are ordered by a figure that no test data enter, mostly one
on validation data, and the test figure of the best setting is the one to report; those of the
others are in their runs. A setting whose training was ended early is never the best one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

from advlab.config.references import dataset_title
from advlab.config.resolve import Config, Plan
from advlab.config.search import Range, range_in
from advlab.experiments.comparison import (
    Compared,
    comparison_result,
    doubts_of,
    grouped,
    seeds_of,
    shared_conditions,
)
from advlab.experiments.study import PrunedSetting, drawn_by
from advlab.plots.search import drawn_settings
from advlab.plots.style import save
from advlab.results.comparison import PrunedRun
from advlab.runs import results
from advlab.runs.files import write_text
from advlab.runs.results import Headline, Result
from advlab.runs.table import seconds_text, table

R = TypeVar("R", bound=Result)

RANDOM = "random search"


def conclude(
    plan: Plan,
    cells: Sequence[tuple[Compared[R], Config]],
    headline: Headline,
    folder: Path,
    pruned: Sequence[PrunedSetting] = (),
) -> list[str]:
    """Write and draw a finished search: ``table.md``, ``metrics.json`` and ``search.png``.

    Args:
        cells: the finished runs, with the figure that they are chosen by as their value.
        headline: that figure.
        pruned: the settings whose trainings were ended early.

    Returns:
        The lines to print.
    """
    groups = _best_first(grouped([cell for cell, _ in cells]), headline)
    best, members = next(iter(groups.items()))
    text = _table(groups, headline, pruned)
    kind = _kind(plan)
    chosen = f"best setting{'' if kind == RANDOM else f' of a {kind}'}: {best}"
    if len(groups) > 1 and len({cell.value for cell, _ in cells}) == 1:
        chosen = f"all settings are equally good, such as {best}"
    sentence = f"{chosen}, {headline.words} {headline.spread([cell.value for cell in members])}"
    test = members[0].run.result.headline_of()
    doubt = doubts_of(members)
    if doubt:
        sentence += f", {doubt}"
    tested: dict[str, object] = {}
    if test is not None and test != headline:
        values = [cell.run.result.headline_value(test) for cell in members]
        words = test.words if test.words.startswith("test ") else f"{test.words} on test data"
        words = f"{words} {members[0].run.result.context()}".strip()
        sentence += f"; its {words}: {test.spread(values)}"
        tested |= {"test_accuracy": mean(values), "test_words": words}
    every = [cell for cell, _ in cells]
    origins = " and ".join(sorted({cell.run.result.origin for cell in every}))
    caption = f"{origins} · {seeds_of(every)}"
    if len(members) > 1:
        caption = f"means over {len(members)} seeds · {caption}"
    if pruned:
        sentence += f"; {len(pruned)} of {len(groups) + len(pruned)} settings were pruned"
    write_text(folder / "table.md", f"{text}\n\n{sentence}\n\n{caption}\n")
    # The context of a result is that of its own headline, and not of another figure.
    own = headline == test
    holds_for = shared_conditions([cell.run.result for cell in every]) if own else ""
    result = comparison_result(plan.command.name, groups, headline, [], holds_for, [])
    if plan.spaces:
        tested |= drawn_by(plan.spaces[0]) | {"pruned": [_record(one) for one in pruned]}
    results.write(folder, result.model_copy(update=tested))
    datasets = " and ".join(
        sorted({dataset_title(cell.run.result.dataset) for cell in every}),
    )
    components = " and ".join(dict.fromkeys(config.component for _, config in cells))
    count = len(groups) + len(pruned)
    title = f"{kind} of {plan.command.name} {components}: {count} settings on {datasets}"
    _draw(plan, cells, headline, title[0].upper() + title[1:], caption, folder, pruned)
    return [text, sentence]


def _kind(plan: Plan) -> str:
    """What a search is called by how its settings are drawn."""
    sampler = drawn_by(plan.spaces[0])["sampler"] if plan.spaces else "random"
    return RANDOM if sampler == "random" else f"{sampler.upper()} search"


def _record(one: PrunedSetting) -> PrunedRun:
    return PrunedRun(
        setting=one.label, seed=one.config.options.seed, epoch=one.epoch, value=one.best
    )


def _best_first(
    groups: Mapping[str, Sequence[Compared[R]]], headline: Headline
) -> dict[str, Sequence[Compared[R]]]:
    """The settings, the best first; of equal ones the one drawn first."""
    sign = 1 if headline.lower_is_better else -1
    ordered = sorted(groups.items(), key=lambda item: sign * mean(cell.value for cell in item[1]))
    return dict(ordered)


def _table(
    groups: Mapping[str, Sequence[Compared[R]]],
    headline: Headline,
    pruned: Sequence[PrunedSetting],
) -> str:
    rows = []
    for label, members in groups.items():
        parameters = members[0].run.result.parameters
        rows.append(
            [
                label,
                str(len(members)),
                headline.spread([cell.value for cell in members]),
                f"{parameters:,}" if parameters else "–",
                seconds_text(mean(cell.run.result.seconds for cell in members)),
                doubts_of(members) or "none",
            ]
        )
    rows += [
        [
            one.label,
            "1",
            f"pruned after epoch {one.epoch}, at {headline.text(one.best)}",
            *("–", "–", "none"),
        ]
        for one in pruned
    ]
    header = ["setting", "runs", headline.words, "parameters", "seconds", "doubts"]
    if not any(map(doubts_of, groups.values())):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return table(header, rows)


def _draw(
    plan: Plan,
    cells: Sequence[tuple[Compared[R], Config]],
    headline: Headline,
    title: str,
    caption: str,
    folder: Path,
    pruned: Sequence[PrunedSetting],
) -> None:
    """A panel for each option that was drawn; for several networks, one that tells them apart."""
    groups: dict[str, list[tuple[Compared[R], Config]]] = {}
    for cell, config in cells:
        groups.setdefault(cell.label, []).append((cell, config))
    firsts = [members[0][1] for members in groups.values()]
    means = [mean(cell.value for cell, _ in members) for members in groups.values()]
    finished = len(means)
    firsts += [one.config for one in pruned]
    names = [key for key in plan.axes if hasattr(firsts[0].options, key) and key != "seed"]
    spans = {key: _range(plan, key, firsts[0]) for key in names}
    options: dict[str, list[float | str]] = {
        key.replace("_", " "): [
            _place(getattr(one.options, key, None), spans[key]) for one in firsts
        ]
        for key in names
    }
    if len({one.component for one in firsts}) > 1:
        options = {plan.command.kind: [one.component for one in firsts], **options}
    choose = min if headline.lower_is_better else max
    drawn = drawn_settings(
        options,
        [*means, *(one.best for one in pruned)],
        means.index(choose(means)),
        headline.quantity,
        title,
        caption,
        logarithmic=[
            key.replace("_", " ")
            for key, span in spans.items()
            if span is not None and span.logarithmic
        ],
        percent=headline.fraction,
        **({"finished": finished} if pruned else {}),
    )
    save(drawn, folder / "search.png")


def _place(value: Any, span: Range | None) -> float | str:
    """A value on an axis; of one that was listed its text."""
    return str(value) if span is None else float(value)


def _range(plan: Plan, key: str, config: Config) -> Range | None:
    """The range that an option was drawn from; None where its values were listed."""
    return range_in(plan.mapping.get(key), type(config.options).model_fields[key].annotation)
