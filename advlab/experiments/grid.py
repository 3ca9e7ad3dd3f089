"""Comparisons of runs: carry out every run of a plan, then gather the results.

A cell is nothing but a resolved configuration, claims its own folder, and is skipped where it is
finished; so the same line typed again does only what is still to do. A cell that another process is
at work on comes last; so the same line typed in two terminals, or on two hosts that share the
folder, shares the work, and both end with the whole comparison.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from advlab.config.base import Options, identity_of
from advlab.config.options.run import RunOptions
from advlab.config.resolve import Config, Plan
from advlab.errors import AdvlabError, UsageError
from advlab.experiments import search, study
from advlab.experiments.cell_queue import POLL, CellQueue
from advlab.experiments.cluster import ClusterTeam
from advlab.experiments.comparison import (
    MIXED,
    UNLIKE,
    Compared,
    choosing_figure,
    comparison_result,
    comparison_table,
    differences,
    draw_curves,
    grouped,
    headline_of,
    intervals_of,
    named,
    seeds_of,
    shared_conditions,
    threat_models,
    what_of,
    without_chance,
)
from advlab.experiments.heatmap import heat_map
from advlab.experiments.paired import adjusted, pairs_table, printed_pairs
from advlab.experiments.places import check_places
from advlab.experiments.study import PrunedSetting, Trials
from advlab.experiments.workers import (
    CellOutcome,
    Crew,
    LocalTeam,
    Team,
    at_its_end,
    own_threads,
    put_off,
    side_by_side,
    threads_each,
)
from advlab.logs import headed, logger
from advlab.plots.comparison import against, comparison
from advlab.plots.style import save
from advlab.progress import note
from advlab.results.comparison import (
    PairedRuns,
    PairedTest,
    unlike,
)
from advlab.runs import results
from advlab.runs.files import CONFIG, write_text
from advlab.runs.folder import HeldElsewhere, RunFolder, files_in, without_waiting
from advlab.runs.identity import Identity
from advlab.runs.processes import current
from advlab.runs.results import Finished, Headline, Result

R = TypeVar("R", bound=Result)
Runner = Callable[[Config], Finished[R]]
# Carries out one configuration, whose images the processes share.
SharedRunner = Callable[[Config, Crew], Finished[R]]
Groups = Mapping[str, Sequence[Finished[R]]]
# From two finished runs: on how many images only one of their networks is right; None where they
# were not measured on the same images in the same way.
Paired = Callable[[Finished[R], Finished[R]], PairedTest | None]
# From the finished runs by setting, the comparison's folder and a caption: lines to print of what
# else there is to say.
Conclude = Callable[[Groups[R], Path, str], list[str]]


@dataclass(frozen=True)
class _Cell(Compared[R]):
    """A finished cell of a grid, with its configuration."""

    config: Config


class _Runs(Protocol[R]):
    """The runs of a plan, by their places in it."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Config:
        """The run at a place."""
        ...

    def label(self, place: int) -> str:
        """What tells it from the others, seeds aside."""
        ...

    def runner(self, place: int, run: Runner[R]) -> Runner[R]:
        """What carries it out."""
        ...

    def tell(self, place: int, finished: Finished[R]) -> None:
        """Take note of what it reports."""
        ...

    def pruned(self) -> list[PrunedSetting]:
        """The settings whose trainings were ended early."""
        ...


class _Planned(Generic[R]):
    """The runs of a plan whose cells are known from the beginning."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __len__(self) -> int:
        return len(self._plan.cells)

    def __getitem__(self, place: int, /) -> Config:
        return self._plan.cells[place]

    def label(self, place: int) -> str:
        return self._plan.labels[place]

    def runner(self, place: int, run: Runner[R]) -> Runner[R]:
        return run

    def tell(self, place: int, finished: Finished[R]) -> None:
        pass

    def pruned(self) -> list[PrunedSetting]:
        return []


def run_plan(
    plan: Plan,
    run: Runner[R],
    conclude: Conclude[R] | None = None,
    paired: Paired[R] | None = None,
    check: Callable[[Config], None] | None = None,
    shared: SharedRunner[R] | None = None,
) -> int:
    """Carry out a plan. A single cell just runs; several end in a table and a picture.

    Several processes share the cells or, where there is one only, its images.

    A cell that the environment stops (a full disk, a loss gone NaN) does not stop the others; typed
    again, the line tries it again. What the user got wrong stops everything at once, and so does
    any error where several processes train together.

    Args:
        run: carries out one configuration, logging what it does.
        conclude: says more about the finished runs of several, and draws it.
        paired: compares two runs of the same seed image by image.
        check: refuses a configuration that cannot run. Every cell is checked before the first one
            runs, since a mistake in the last one should not cost the time of the others. That
            the files and folders that it names are there is checked as well.
        shared: carries out a single configuration in several processes; None where one process
            has to do it.

    Returns:
        0 where every cell finished, 1 else.

    Raises:
        UsageError: ``--cluster`` is given for a single cell that one process has to carry out, or
            together with ``--workers``; or a cell cannot run.
    """
    options = plan.cells[0].options
    if len(plan.cells) > 1:
        check_places(plan.cells)
        if check is not None:
            for cell in plan.cells:
                check(cell)
    if options.cluster is not None:
        plan = _for_cluster(plan, shared is not None)
    if plan.spaces:  # a file names no database, whose password its URL may hold
        plan = replace(plan, mapping={**plan.mapping, "storage": None})
    if len(plan.cells) == 1:
        _alone(plan.cells[0], run, shared, options.cluster)
        return 0
    if plan.spaces:
        study.check()
    folder = _folder_of(plan)
    if current().rank == 0:
        folder.check_same()
    runs: _Runs[R] = _Planned(plan)
    if plan.spaces:
        runs = _begun(plan, folder)
        folder = replace(folder, overwrite=False)  # it holds the study from here on
    if current().size > 1:
        finished = _by_all_processes(runs, run)
        if current().rank:
            return 0
    elif options.workers == 1 and options.cluster is None:
        finished = _in_turn(runs, run)
    else:
        finished = _together(runs, run, options.workers, options.cluster)
    complete = [run for run in finished if run is not None]
    pruned = runs.pruned()
    if complete:
        headline = complete[0].result.chosen_by() if plan.searched else None
        headline = headline or headline_of([run.result for run in complete])
        cells = [
            _Cell(runs.label(place), run, run.result.headline_value(headline), runs[place])
            for place, run in enumerate(finished)
            if run is not None
        ]
        with folder.claim(), folder.begin():
            if plan.searched:
                pairs = [(cell, cell.config) for cell in cells]
                for line in search.conclude(plan, pairs, headline, folder.path, pruned):
                    print(line)
                print(files_in(folder.path))
            else:
                _gather(plan, cells, headline, folder.path, conclude, paired)
    elif pruned:
        print(f"no setting to name: {len(pruned)} of {len(finished)} trainings were ended early")
    missing = len(finished) - len(complete) - len(pruned)
    if missing:
        print(f"{missing} of {len(finished)} runs did not finish; the same line tries them again")
    return 1 if missing else 0


def _alone(
    cell: Config, run: Runner[R], shared: SharedRunner[R] | None, cluster: str | None
) -> None:
    """A single run, whose images several processes share where they can."""
    workers = cell.options.workers
    if shared is not None and (workers > 1 or cluster is not None):
        with _crew(cell.options, cluster) as crew:
            shared(cell, crew)
        return
    if workers > 1:
        logger.info(
            f"--workers {workers} has no effect on this single run: several processes share the "
            "runs of a grid, and the images of a suite of attacks or of an attack within a ball"
        )
    run(cell)


@contextmanager
def _crew(options: RunOptions, cluster: str | None) -> Iterator[Crew]:
    """The processes that share the images of a run, until it ends."""
    with own_threads():
        if cluster is not None:
            team: Team = ClusterTeam(cluster, options.out, _data_dir(options))
            crew = Crew(team, threads=1)
        else:
            team = LocalTeam(options.workers, options.workers)
            crew = Crew(team, threads_each(options.workers))
        with at_its_end(team):
            yield crew


def _for_cluster(plan: Plan, shared: bool) -> Plan:
    """The plan without the cluster that carries it out, which no file may name.

    Args:
        shared: whether several processes can share the images of a single run.

    Raises:
        UsageError: the cluster has nothing to do, or is one place too many.
    """
    options = plan.cells[0].options
    if len(plan.cells) == 1 and not shared:
        raise UsageError(
            "--cluster carries out several runs, and this line asks for one; give an option "
            "several values, or --seeds, or leave --cluster out"
        )
    if options.workers > 1:
        raise UsageError(
            "--workers counts processes of this machine, and --cluster takes those of a cluster; "
            "leave one of them out"
        )
    return replace(
        plan,
        cells=tuple(cell.changed(cluster=None) for cell in plan.cells),
        mapping={**plan.mapping, "cluster": None},
    )


def _begun(plan: Plan, folder: RunFolder) -> Trials[R]:
    """The runs of a search that keeps a study, which is in its folder before the first of them."""
    with folder.claim():
        config = folder.path / CONFIG
        if config.is_file() and config.read_text(encoding="utf-8") != folder.config:
            # The result of a search for fewer settings, or more, is none of this one.
            (folder.path / results.FILE).unlink(missing_ok=True)
        with folder.begin():
            study.begin(plan, folder.path, folder.overwrite)
    return Trials(plan, folder.path)


def _in_turn(runs: _Runs[R], run: Runner[R]) -> list[Finished[R] | None]:
    """The runs one after the other; those that other processes are at work on last."""
    finished: list[Finished[R] | None] = [None] * len(runs)
    queue = CellQueue(len(runs))
    while queue:
        place = queue.take()
        if place is None:
            time.sleep(POLL)
            continue
        cell = runs[place]
        with headed(_head(runs, place)):
            try:
                with without_waiting():
                    finished[place] = one = _attempt(runs.runner(place, run), cell)
                    if one is not None:
                        runs.tell(place, one)
            except HeldElsewhere as held:
                logger.info(put_off(held))
                queue.put_back(place, held.folder)
    return finished


def _by_all_processes(runs: _Runs[R], run: Runner[R]) -> list[Finished[R] | None]:
    """The runs one after the other, each by all processes.

    None is put off or given up: the processes could not agree on where to go on.
    """
    finished: list[Finished[R] | None] = []
    for place in range(len(runs)):
        with headed(_head(runs, place)):
            finished.append(run(runs[place]))
    return finished


def _together(
    runs: _Runs[R], run: Runner[R], workers: int, cluster: str | None
) -> list[Finished[R] | None]:
    """The same in several processes; each cell's lines are printed when it is done.

    Raises:
        UsageError: what the user got wrong, as one cell found; the others are stopped.
        EnvironmentFailure: the cluster is not there, or cannot take part.
    """
    finished: list[Finished[R] | None] = [None] * len(runs)
    options = runs[0].options
    if cluster is None:  # which takes seconds, before anything can be heard of them
        note(f"starting {min(workers, len(runs))} processes for {len(runs)} runs")
    team: Team = (
        LocalTeam(workers, len(runs))
        if cluster is None
        else ClusterTeam(cluster, options.out, _data_dir(options))
    )
    with closing(side_by_side(run, runs, team, lambda place: runs.runner(place, run))) as outcomes:
        for place, outcome in outcomes:
            with headed(_head(runs, place)):
                _report(outcome)
                finished[place] = one = outcome.finished
                if one is not None:  # before the next setting is drawn
                    runs.tell(place, one)
    return finished


def _report(outcome: CellOutcome[R]) -> None:
    """Log what a worker logged of a cell.

    Raises:
        UsageError: the request is wrong.
    """
    if outcome.again:
        logger.info(outcome.again)
        return
    for line in outcome.lines:
        logger.info(line)
    if outcome.usage_error:
        raise UsageError(outcome.refusal)
    if outcome.refusal:
        logger.info(f"not finished: {outcome.refusal}")


def _data_dir(options: Options) -> str | None:
    """The folder of data sets, where there is one on this host."""
    place = getattr(options, "data_dir", None)
    return place if place is not None and Path(place).is_dir() else None


def _head(runs: _Runs[R], place: int) -> str:
    return f"[{place + 1}/{len(runs)}] {runs.label(place)}, seed {runs[place].options.seed}; "


def _attempt(run: Runner[R], cell: Config) -> Finished[R] | None:
    """A finished cell; None where the environment stopped it.

    Raises:
        UsageError: the request is wrong.
        HeldElsewhere: another process is at work on the cell.
    """
    try:
        return run(cell)
    except (UsageError, HeldElsewhere):
        raise
    except (AdvlabError, OSError) as error:
        logger.info(f"not finished: {error}")
        return None


def _gather(
    plan: Plan,
    cells: Sequence[_Cell[R]],
    headline: Headline,
    folder: Path,
    conclude: Conclude[R] | None,
    paired: Paired[R] | None,
) -> None:
    """Write and draw the comparison: ``table.md``, ``metrics.json``, and a picture or two."""
    compared = [
        Compared(cell.label, replace(cell.run, result=cell.run.result.about(headline)), cell.value)
        for cell in cells
    ]
    groups = grouped(compared)
    values = {label: [cell.value for cell in members] for label, members in groups.items()}
    every = [cell.run.result for cell in compared]
    holds_for = shared_conditions(every)
    words = f"{headline.words} {holds_for}".strip()
    mixed = len(threat_models(every)) > 1
    differ = differences(every, holds_for)
    text = comparison_table(groups, headline, words, mixed)
    caption = (
        f"{' and '.join(sorted({cell.run.result.origin for cell in cells}))} · {seeds_of(cells)}"
    )
    seedless, aside = without_chance(groups), ""
    caption += f" · {seedless}" if seedless else ""
    if mixed:
        aside = ", under different threat models"
        caption += f" · {MIXED}"
    elif differ:
        aside = f", measured {unlike(differ)}"
        caption += f" · {UNLIKE}"
    # The images that are compared in pairs are those of the figure that all such results have.
    comparable = headline == cells[0].run.result.headline
    pairs = adjusted(_pairs(groups, paired)) if paired and comparable else []
    both = [text, pairs_table(pairs, headline.words)] if pairs else [text]
    write_text(folder / "table.md", "\n\n".join([*both, caption]) + "\n")
    results.write(
        folder, comparison_result(plan.command.name, groups, headline, pairs, holds_for, differ)
    )
    title = f"{words[0].upper()}{words[1:]} {what_of(every)}{aside}"
    numbers = _numeric_axis(plan, cells)
    axis = headline.quantity
    if numbers is not None:
        drawn = against(numbers[1], numbers[0], axis, title, caption, percent=headline.fraction)
    else:
        drawn = comparison(
            {named(label, groups[label], mixed): figures for label, figures in values.items()},
            axis,
            title,
            caption,
            percent=headline.fraction,
            intervals=intervals_of(groups, headline, mixed),
        )
    save(drawn, folder / "comparison.png")
    values_of_cells = [(cell.config, cell.value) for cell in cells]
    ranked = not mixed and not differ
    figure = choosing_figure(every, headline)
    chosen = (figure, [one.headline_value(figure) for one in every]) if figure else None
    heat_map(plan, values_of_cells, headline, title, caption, folder, ranked, chosen)
    by_eps = f"{axis[0].upper()}{axis[1:]} by ε {what_of(every)}{aside}"
    draw_curves(groups, by_eps, caption, folder)
    print(text)
    if seedless:
        print(seedless)
    if mixed:
        print(MIXED)
    elif differ:
        print(f"measured {unlike(differ)}: {UNLIKE}")
    if pairs:
        print(printed_pairs(pairs, headline.words))
    finished = {label: [cell.run for cell in members] for label, members in grouped(cells).items()}
    for line in conclude(finished, folder, caption) if conclude else []:
        print(line)
    print(files_in(folder))


def _pairs(groups: Mapping[str, Sequence[Compared[R]]], paired: Paired[R]) -> list[PairedRuns]:
    """Every two settings, seed by seed, that can be compared image by image."""
    pairs = []
    for (first, ones), (second, others) in combinations(groups.items(), 2):
        for one, other in product(ones, others):
            seed = one.run.result.seed
            if seed != other.run.result.seed:
                continue
            test = paired(one.run, other.run)
            if test is not None:
                pairs.append(
                    PairedRuns(
                        first=first,
                        second=second,
                        seed=seed,
                        difference=other.value - one.value,
                        test=test,
                    )
                )
    return pairs


def _numeric_axis(
    plan: Plan, cells: Sequence[_Cell[R]]
) -> tuple[str, dict[float, list[float]]] | None:
    """The one number that was varied beside the seed, and the figure by its value; None where it is
    not so simple."""
    varied = [name for name in plan.axes if name != "seed"]
    if len(varied) != 1 or len(plan.axes[varied[0]]) < 3:
        return None
    name = varied[0]
    points: dict[float, list[float]] = {}
    for cell in cells:
        value = getattr(cell.config.options, name, None)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        points.setdefault(float(value), []).append(cell.value)
    return name.replace("_", " "), points


def _folder_of(plan: Plan) -> RunFolder:
    """The comparison's folder. The same plan draws it anew; another plan of the same name is
    refused."""
    first = plan.cells[0].options
    text = json.dumps(
        [[cell.component, identity_of(cell.options)] for cell in plan.cells], sort_keys=True
    )
    if plan.searched:
        text += " by search"
    drawn_by: dict[str, str] = {}
    if plan.spaces:
        text, drawn_by = study.sameness(plan), study.drawn_by(plan.spaces[0])
    if current().size > 1:
        text += f" in {current().size} processes"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return RunFolder(
        path=Path(first.out) / "compare" / (plan.name or _name(plan, digest)),
        identity=Identity("compare", plan.command.name, drawn_by, {"plan": digest}),
        config=plan.text(),
        defaults={"sampler": "random", "pruner": "none"},
        overwrite=first.overwrite,
        resume=bool(plan.spaces),
    )


def _name(plan: Plan, digest: str) -> str:
    """A folder name for the comparison, the same for the same plan."""
    first = plan.cells[0]
    varied = "-".join(name.replace("_", "") for name in plan.axes)
    components = "+".join(dict.fromkeys(cell.component for cell in plan.cells))
    dataset = getattr(first.options, "dataset", "auto")
    place = "" if dataset == "auto" else f"-{dataset}"
    readable = re.sub(r"[^A-Za-z0-9._+-]+", "_", f"{first.command}-{components}{place}-by-{varied}")
    return f"{readable[:80]}-{digest[:6]}"
