"""Several finished runs beside each other: the table, the result and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Generic, TypeVar

from advlab.config.references import dataset_title
from advlab.experiments.titles import title_of
from advlab.metrics.intervals import interval
from advlab.plots.robustness import accuracy_against_eps
from advlab.plots.style import save
from advlab.results.attack import AttackResult
from advlab.results.comparison import (
    ComparedRun,
    ComparisonResult,
    Difference,
    PairedRuns,
    Setting,
)
from advlab.runs.results import Finished, Headline, NetworkRecord, Result
from advlab.runs.table import seconds_text, table

R = TypeVar("R", bound=Result)

UNLIKE = "these figures do not compare"
MIXED = "different threat models: the figures say nothing of which attack is stronger"


@dataclass(frozen=True)
class Compared(Generic[R]):
    """A finished run of a comparison.

    Attributes:
        label: its setting, which runs of other seeds share.
        value: the figure that is compared.
    """

    label: str
    run: Finished[R]
    value: float


def grouped(cells: Sequence[Compared[R]]) -> dict[str, list[Compared[R]]]:
    """The runs by setting, in their order."""
    groups: dict[str, list[Compared[R]]] = {}
    for cell in cells:
        groups.setdefault(cell.label, []).append(cell)
    return groups


def results_of(groups: Mapping[str, Sequence[Compared[R]]]) -> list[R]:
    """The results of all settings, in their order."""
    return [cell.run.result for members in groups.values() for cell in members]


def values_of(members: Sequence[Compared[R]], figure: Headline) -> list[float]:
    """A figure of each run."""
    return [cell.run.result.headline_value(figure) for cell in members]


def headline_of(every: Sequence[Result]) -> Headline:
    """The figure that all of the results are about; that of their class where they differ, such as
    the robust accuracy of attacks of which some look for the smallest perturbation."""
    own = {result.headline_of() for result in every}
    headline = own.pop() if len(own) == 1 else every[0].headline
    assert headline is not None
    return headline


def choosing_figure(every: Sequence[Result], headline: Headline) -> Headline | None:
    """The figure of validation data that all of the results may be chosen by; None where they have
    none in common, or where it is the headline."""
    own = {result.chosen_by() for result in every}
    figure = own.pop() if len(own) == 1 else None
    if figure is None or figure == headline or not all(result.has(figure) for result in every):
        return None
    return figure


def shared_conditions(every: Sequence[Result]) -> str:
    """What all figures hold for, or as much of it as figures that are compared have in common;
    empty where that differs."""
    for held in ([result.conditions() for result in every], [r.compared_under() for r in every]):
        if len(set(held)) == 1:
            return held[0]
    return ""


def threat_models(every: Sequence[Result]) -> list[str]:
    """What the attacks of the results might do, each kind once; empty where they are of none."""
    return sorted({result.threat_model() for result in every} - {""})


def differences(every: Sequence[Result], holds_for: str) -> list[Difference]:
    """What the results do not share that their figures are measured on or under.

    Args:
        holds_for: what all figures hold for; empty where that differs, or where there is nothing to
            say.
    """
    differ: list[Difference] = []
    first = every[0].measured_on()
    if len({result.data_sha256 for result in every}) > 1:
        differ.append("data")
    elif not all(result.measured_on().same_as(first) for result in every[1:]):
        differ.append("examples")
    if not holds_for and len({result.compared_under() for result in every}) > 1:
        differ.append("conditions")
    return differ


def named(label: str, members: Sequence[Compared[R]], mixed: bool) -> str:
    """A setting in a figure; with what its figure holds for where the threat models differ, and
    with what speaks against it."""
    conditions = members[0].run.result.conditions() if mixed else ""
    return "\n".join(filter(None, [label, conditions, doubts_of(members)]))


def doubts_of(members: Sequence[Compared[R]]) -> str:
    """What speaks against the figures of a setting, each once; empty where nothing does."""
    return "; ".join(dict.fromkeys(filter(None, (cell.run.result.doubt() for cell in members))))


def what_of(every: Sequence[Result]) -> str:
    """Of which network all figures are, where it is one, and on which data, for a title."""
    datasets = " and ".join(sorted({dataset_title(result.dataset) for result in every}))
    networks = [getattr(result, "network", None) for result in every]
    records = [network for network in networks if isinstance(network, NetworkRecord)]
    names = {(network.sha256, title_of(network)) for network in records}
    is_one = len(names) == 1 and len(records) == len(every)
    return f"{f'of {title_of(records[0])} ' if is_one else ''}on {datasets}"


def examples_of(every: Sequence[Result]) -> str:
    """The test examples of all figures, such as ``12 images``, for a caption; empty where they
    differ, or are all there are."""
    words = {result.measured_on().words for result in every} - {"all examples"}
    return words.pop() if len(words) == 1 else ""


def without_chance(groups: Mapping[str, Sequence[Compared[R]]]) -> str:
    """Which settings have one figure with every seed, so that its spread says nothing; empty where
    all vary."""
    equal = [
        label
        for label, members in groups.items()
        if len(members) > 1 and len({cell.value for cell in members}) == 1
    ]
    if not equal:
        return ""
    which = f" of {' and '.join(equal)}" if len(equal) < len(groups) else ""
    return f"the figure{which} is the same with every seed: its ± is no measure of chance"


def comparison_table(
    groups: Mapping[str, Sequence[Compared[R]]], headline: Headline, words: str, mixed: bool
) -> str:
    """A row for each setting, with the figure that settings are chosen by. Where the threat models
    differ, each row says what it holds for, and where something speaks against a figure, its row
    says so."""
    doubted = any(map(doubts_of, groups.values()))
    every = results_of(groups)
    chosen = choosing_figure(every, headline)
    sized = any(cell.run.result.parameters for members in groups.values() for cell in members)
    rows = []
    for label, members in groups.items():
        values = [cell.value for cell in members]
        parameters = members[0].run.result.parameters
        rows.append(
            [
                label,
                str(len(members)),
                headline.spread(values),
                " ".join(map(headline.short, values)),
                *([] if chosen is None else [chosen.spread(values_of(members, chosen))]),
                *([f"{parameters:,}" if parameters else "–"] if sized else []),
                seconds_text(mean(cell.run.result.seconds for cell in members)),
                *([members[0].run.result.conditions()] if mixed else []),
                *([doubts_of(members) or "none"] if doubted else []),
            ]
        )
    heads = ["setting", "runs", words, "each", *([] if chosen is None else [chosen.words])]
    heads += [*["parameters"] * sized, "seconds"]
    heads += ["holds for"] * mixed + ["doubts"] * doubted
    return table(heads, rows)


def comparison_result(
    command: str,
    groups: Mapping[str, Sequence[Compared[R]]],
    headline: Headline,
    pairs: list[PairedRuns],
    holds_for: str,
    differ: list[Difference],
) -> ComparisonResult:
    """What a comparison reports.

    Args:
        command: of the runs.
        groups: the runs by setting.
        pairs: of settings that were compared image by image.
        holds_for: what all figures hold for; empty where that differs.
        differ: why the figures do not compare.
    """
    settings = []
    every = results_of(groups)
    chosen = choosing_figure(every, headline)
    for label, members in groups.items():
        values = [cell.value for cell in members]
        settings.append(
            Setting(
                setting=label,
                mean=mean(values),
                std=stdev(values) if len(values) > 1 else None,
                runs=[
                    ComparedRun(
                        seed=cell.run.result.seed, folder=str(cell.run.folder), value=cell.value
                    )
                    for cell in members
                ],
                chosen_mean=None if chosen is None else mean(values_of(members, chosen)),
            )
        )
    models = {result.model for result in every}
    return ComparisonResult(
        command=command,
        component="+".join(dict.fromkeys(result.component for result in every)),
        dataset=" and ".join(sorted({result.dataset for result in every})),
        origin=" and ".join(sorted({result.origin for result in every})),
        model=every[0].model if len(models) == 1 else None,
        seed=min(result.seed for result in every),
        seconds=sum(result.seconds for result in every),
        date=max(result.date for result in every),  # the same line typed again changes nothing
        machine=every[0].machine,
        figure=headline.field,
        figure_words=headline.words,
        fraction=headline.fraction,
        lower_is_better=headline.lower_is_better,
        chosen_words="" if chosen is None else chosen.words,
        chosen_lower_is_better=chosen is not None and chosen.lower_is_better,
        holds_for=holds_for,
        differ=differ,
        settings=settings,
        threat_models=threat_models(every),
        doubted=[label for label, members in groups.items() if doubts_of(members)],
        same_target=command == "attack" and not differ and _same_target(every),
        pairs=pairs,
    )


def _same_target(every: Sequence[Result]) -> bool:
    """Whether all runs attacked one network on the same images, with the same goal."""
    attacks = [result for result in every if isinstance(result, AttackResult)]
    examples = [result.measured_on() for result in attacks]
    return (
        len(attacks) == len(every)
        and len({(one.data_sha256, one.goal(), one.network.sha256) for one in attacks}) == 1
        and all(one.same_as(examples[0]) for one in examples)
    )


def draw_curves(
    groups: Mapping[str, Sequence[Compared[R]]], title: str, caption: str, folder: Path
) -> None:
    """Mean robust accuracy by ε for each setting, where every run has more than one ε and all are
    in one norm; else nothing."""
    curves = {
        label: [cell.run.result.robustness_curve() for cell in members]
        for label, members in groups.items()
    }
    drawable = {
        label: [curve for curve in several if curve is not None]
        for label, several in curves.items()
    }
    every = [curve for several in drawable.values() for curve in several]
    if len(every) < sum(map(len, curves.values())) or any(len(curve.points) < 2 for curve in every):
        return
    if len({curve.norm for curve in every}) > 1:
        return
    lines = {
        label: [
            (points[0][0], mean(accuracy for _, accuracy in points))
            for points in zip(*(curve.points for curve in several), strict=True)
        ]
        for label, several in drawable.items()
    }
    within = any(curve.within for curve in every)
    drawn = accuracy_against_eps(
        lines, every[0].classes, every[0].norm, title, caption, within=within
    )
    save(drawn, folder / "curves.png")


def intervals_of(
    groups: Mapping[str, Sequence[Compared[R]]], headline: Headline, mixed: bool
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of the figure of each setting that has one run, over the choice of the
    examples that it is a fraction of, by its ``named`` label; none for other figures."""
    intervals = {}
    for label, members in groups.items():
        count = members[0].run.result.examples_of(headline)
        if len(members) == 1 and count is not None:
            intervals[named(label, members, mixed)] = interval(members[0].value, count)
    return intervals


def seeds_of(cells: Sequence[Compared[R]]) -> str:
    """The seeds of the runs, for a caption."""
    seeds = sorted({cell.run.result.seed for cell in cells})
    return (
        f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}"
    )
