"""Runs of one setting over several seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from advlab.experiments.report.gather import Run
from advlab.results.comparison import ComparisonResult, Setting
from advlab.runs.results import Headline, Result

R = TypeVar("R", bound=Result)
_Place = tuple[str, str]


@dataclass(frozen=True)
class Repeated(Generic[R]):
    """A setting and the runs that repeat it.

    Attributes:
        runs: the newest run of each seed, by ascending seed, and their results.
        copies: further runs of the same seeds: they repeat a figure and add none.
    """

    runs: Sequence[tuple[Run, R]]
    copies: Sequence[Run] = ()

    @property
    def first(self) -> R:
        """The result of the lowest seed, for what all of them share."""
        return self.runs[0][1]

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return [result.seed for _, result in self.runs]

    def values(self, value: Callable[[R], float | None]) -> list[float]:
        """The values of all seeds; none where a seed has none."""
        numbers = [number for _, result in self.runs if (number := value(result)) is not None]
        return numbers if len(numbers) == len(self.runs) else []

    def spread(self, value: Callable[[R], float | None], fraction: bool = True) -> str:
        """Mean ± sample standard deviation over the seeds; a dash where there are no values."""
        values = self.values(value)
        if not fraction and len(set(values)) == 1:  # such as a number of images
            values = values[:1]
        return Headline("", "", fraction).spread(values) if values else "–"


def repeated(runs: Sequence[tuple[Run, R]], everything: Iterable[Run]) -> list[Repeated[R]]:
    """Group runs that differ in their seed alone.

    These are runs whose identities agree in everything but the seed. Runs that start from networks
    of their own, one for each seed, are repetitions where a comparison says so: without it, two
    networks might be two settings.

    Args:
        runs: newest first.
        everything: all runs, for the comparisons among them.
    """
    joined = _joined_by_comparisons(everything)
    groups: dict[str, list[tuple[Run, R]]] = {}
    for run, result in runs:
        groups.setdefault(_key(run, joined), []).append((run, result))
    return [_newest_of_each_seed(members) for members in groups.values()]


def _newest_of_each_seed(members: Sequence[tuple[Run, R]]) -> Repeated[R]:
    newest: dict[int, tuple[Run, R]] = {}
    for run, result in members:
        newest.setdefault(result.seed, (run, result))
    selected = {run.name for run, _ in newest.values()}
    return Repeated(
        [newest[seed] for seed in sorted(newest)],
        [run for run, _ in members if run.name not in selected],
    )


def _key(run: Run, joined: Mapping[_Place, str]) -> str:
    """A text that runs of one setting share."""
    made_of = run.identity
    if made_of is None:
        return f"run {run.name}"
    options = {name: value for name, value in made_of.options.items() if name != "seed"}
    contents = joined.get(_place(run.folder)) or dict(made_of.contents)
    return json.dumps([made_of.command, made_of.component, options, contents], sort_keys=True)


def _joined_by_comparisons(everything: Iterable[Run]) -> dict[_Place, str]:
    """The setting of a comparison that each run belongs to, the largest where there are several;
    only where its runs start from different networks."""
    by_place = {_place(run.folder): run for run in everything}
    settings = [
        (f"{run.name} {setting.setting}", setting)
        for run in by_place.values()
        if isinstance(run.result, ComparisonResult)
        for setting in run.result.settings
        if _differ_in_networks(setting, by_place)
    ]
    names: dict[_Place, str] = {}
    for name, setting in sorted(settings, key=lambda pair: (len(pair[1].runs), pair[0])):
        names |= {_place(Path(member.folder)): name for member in setting.runs}
    return names


def _differ_in_networks(setting: Setting, by_place: Mapping[_Place, Run]) -> bool:
    """Whether the runs of a setting are those that are there, on the same data, and start from
    different networks."""
    contents = []
    for member in setting.runs:
        run = by_place.get(_place(Path(member.folder)))
        if run is None or run.identity is None or not isinstance(run.result, Result):
            return False
        if run.result.seed != member.seed or run.result.headline_value() != member.value:
            return False  # another run has taken its folder since
        contents.append(dict(run.identity.contents))
    return (
        len({made_of.get("data") for made_of in contents}) == 1
        and len({member.seed for member in setting.runs}) == len(setting.runs)
        and any(made_of != contents[0] for made_of in contents)
    )


def _place(folder: Path) -> _Place:
    """Command and name, whatever the folder of all runs was called from."""
    return folder.parent.name, folder.name
