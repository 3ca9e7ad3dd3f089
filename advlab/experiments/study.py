"""Searches that keep a study: Optuna draws their settings and ends some of their trainings early.

Optuna: Akiba and others 2019, arXiv:1907.10902. Its tree-structured Parzen estimator: Bergstra and
others 2011; Watanabe 2023, arXiv:2304.11127.

A trial is a setting, and what is carried out is a run as any other. The trials lie in a journal in
the folder of the search, or in a database. Trial number k is the k-th setting of the search, so
that several processes, and the same line typed again, agree on which settings there are: whoever
gets to a number first draws its setting. A trial whose process was killed is open to the others,
as its run is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Generic, TypeVar

from filelock import FileLock

from advlab.components import optional
from advlab.config.base import identity_of
from advlab.config.resolve import Config, Plan, Space
from advlab.config.search import Range, settings
from advlab.data import load_images, load_texts
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.logs import logger
from advlab.runs import pruning
from advlab.runs.files import read_lines, write_text
from advlab.runs.machine import derive
from advlab.runs.processes import current
from advlab.runs.pruning import Pruned
from advlab.runs.results import Finished, Result

R = TypeVar("R", bound=Result)
Runner = Callable[[Config], Finished[R]]

_WHAT = "a search with --sampler, --pruner or --storage"
_JOURNAL, _LOCK = "study.journal", "study.lock"
_HISTORY = "history.jsonl"
_AT_RANDOM = 10  # trials before the sampler has enough to learn from, as Optuna has it


@dataclass(frozen=True)
class StudyPlace:
    """Where a study is kept, and what its figures mean: all that a process needs to open it.

    Attributes:
        folder: of the search.
        name: of the study.
        url: of the database that keeps it; None for a journal in the folder.
        lower_is_better: whether the lowest figure is the best one.
        prunes: whether trainings are ended early.
    """

    folder: Path
    name: str
    url: str | None
    lower_is_better: bool
    prunes: bool


@dataclass(frozen=True)
class PrunedSetting:
    """A setting whose training was ended early.

    Attributes:
        label: the setting.
        config: its run.
        epoch: the last one that was trained.
        best: the best validation figure of its epochs.
    """

    label: str
    config: Config
    epoch: int
    best: float


class Study:
    """The trials of one component's search, which several processes may share."""

    def __init__(self, place: StudyPlace) -> None:
        """Open the study, or begin it.

        Raises:
            EnvironmentFailure: Optuna is not installed, or the storage cannot be used.
        """
        self._optuna: Any = optional("optuna", _WHAT, "search")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        self._place = place
        self._lock = FileLock(place.folder / _LOCK)
        with self._held():
            self._storage = self._opened()
            pruners = self._optuna.pruners
            self._study = self._optuna.create_study(
                storage=self._storage,
                study_name=place.name,
                direction="minimize" if place.lower_is_better else "maximize",
                pruner=pruners.MedianPruner() if place.prunes else pruners.NopPruner(),
                load_if_exists=True,
            )

    def setting(self, number: int, space: Space) -> dict[str, object]:
        """The values of a trial, by option; drawn where nobody has drawn them yet.

        Args:
            number: at most the number of trials.
        """
        with self._held():
            trials = self._trials()
            if number == len(trials):
                trial = self._optuna.trial.create_trial(
                    state=self._optuna.trial.TrialState.RUNNING,
                    params=self._drawn(trials, space),
                    distributions=self._distributions(space.varied),
                )
                self._study.add_trial(trial)
                trials = self._trials()  # whoever shares a database alone does not share the lock
            return {key: trials[number].params[key] for key in space.varied}

    def tell(
        self, number: int, seed: int, seeds: int, value: float, history: Sequence[float] = ()
    ) -> None:
        """Store the figure of a trial's finished run; the last one of its seeds completes it.

        Args:
            seed: number of the run among those of the trial.
            seeds: how many runs the trial has.
            history: the figure after every epoch, where trainings are ended early.
        """
        with self._held():
            trial = self._trials()[number]
            known = {**trial.user_attrs}
            key = f"figure of seed {seed}"
            if known.setdefault(key, value) != value:
                logger.info(
                    f"note: trial {number} of the study has {known[key]:.6g}, and its run "
                    f"{value:.6g}; the study is of other data, or of another machine"
                )
            if trial.state.is_finished():
                return
            self._report(trial, history)
            self._storage.set_trial_user_attr(trial._trial_id, key, known[key])
            figures = [known[name] for name in known if name.startswith("figure of seed ")]
            if len(figures) == seeds:
                self._study.tell(number, mean(figures))

    def pruned(self, number: int) -> Pruned | None:
        """How a trial's training was ended early; None where it was not."""
        with self._held():
            trials = self._trials()
            if number >= len(trials) or trials[number].state.name != "PRUNED":
                return None
            values = trials[number].intermediate_values
            return Pruned(max(values), max(values.values()))

    def ends(self, number: int, values: Sequence[float]) -> bool:
        """Whether the training of a trial ends, given its figure after every epoch so far."""
        with self._held():
            trial = self._trials()[number]
            if trial.state.is_finished():
                return bool(trial.state.name == "PRUNED")
            self._report(trial, values)
            ended: bool = self._study.pruner.prune(self._study, self._trials()[number])
            if ended:
                self._study.tell(number, state=self._optuna.trial.TrialState.PRUNED)
            return ended

    def remove(self) -> None:
        """Remove the study from its database, so that it begins anew."""
        with self._held():
            self._optuna.delete_study(study_name=self._place.name, storage=self._storage)

    def _report(self, trial: Any, values: Sequence[float]) -> None:
        for epoch, value in enumerate(values, start=1):
            if epoch not in trial.intermediate_values:
                self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)

    def _trials(self) -> list[Any]:
        return sorted(self._study.get_trials(deepcopy=False), key=lambda trial: trial.number)

    def _drawn(self, trials: Sequence[Any], space: Space) -> dict[str, object]:
        """The values of the next trial, which no trial has had.

        They are a function of the seed, the number and what is known of the trials before: a study
        that goes on draws what an unbroken one would have drawn.
        """
        first, number = space.first, len(trials)
        at_random = settings(space.varied, first.search, first.seed)
        if first.sampler == "random" or number < _AT_RANDOM:
            return dict(zip(space.varied, at_random[number], strict=True))
        sampler = self._optuna.samplers.TPESampler(
            n_startup_trials=_AT_RANDOM, seed=derive(first.seed, 61, number) % 2**32
        )
        # Asked of a copy, since the study itself would keep the numbers as they were proposed:
        # with all their digits, and though they may have been tried before.
        copy = self._optuna.create_study(direction=self._study.direction, sampler=sampler)
        copy.add_trials(trials)
        proposed = copy.ask(self._distributions(space.varied)).params
        values = tuple(
            choice.rounded(proposed[key]) if isinstance(choice, Range) else proposed[key]
            for key, choice in space.varied.items()
        )
        tried = {tuple(trial.params[key] for key in space.varied) for trial in trials}
        if values in tried or not _goes_together(space, values):
            values = next(one for one in at_random if one not in tried)
        return dict(zip(space.varied, values, strict=True))

    def _distributions(self, varied: Mapping[str, Range | Sequence[Any]]) -> Mapping[str, object]:
        known = self._optuna.distributions
        return {
            key: known.CategoricalDistribution(tuple(choice))
            if not isinstance(choice, Range)
            else known.IntDistribution(*choice.ends, log=choice.logarithmic)
            if choice.whole
            else known.FloatDistribution(*choice.ends, log=choice.logarithmic)
            for key, choice in varied.items()
        }

    def _opened(self) -> Any:
        storages = self._optuna.storages
        if self._place.url is not None:
            return storages.get_storage(self._place.url)
        file = self._place.folder / _JOURNAL
        lock = _JournalLock(file, self._lock)
        return storages.JournalStorage(storages.journal.JournalFileBackend(str(file), lock))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other processes from the study meanwhile.

        Raises:
            EnvironmentFailure: the storage cannot be used.
        """
        try:
            with self._lock:
                yield
        except AdvlabError:
            raise
        except Exception as error:  # of the kinds of databases
            text = " ".join(str(error).split())[:200]
            place = self._place.folder / _JOURNAL if self._place.url is None else "--storage"
            raise EnvironmentFailure(
                f"{place}: the study cannot be used ({type(error).__name__}: {text})"
            ) from error


def _goes_together(space: Space, values: Sequence[Any]) -> bool:
    """Whether a run takes these values of the options that vary, each of which it takes alone."""
    try:
        space.cells(dict(zip(space.varied, values, strict=True)))
    except UsageError:
        return False
    return True


class _JournalLock:
    """The lock of a journal. The operating system frees it when its process ends, however it ends;
    Optuna's own would stay."""

    def __init__(self, file: Path, lock: FileLock) -> None:
        self._file, self._lock = file, lock

    def acquire(self) -> bool:
        """Wait for the lock, and remove a line that a full disk broke off."""
        self._lock.acquire()
        with self._file.open("rb+") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - 1))
            if opened.read() not in (b"", b"\n"):
                opened.seek(0)
                opened.truncate(opened.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let others have it."""
        self._lock.release()


class Trials(Generic[R]):
    """The runs of a search that keeps a study, by their places: the settings of the first component
    one after the other, each with every seed, then those of the next one."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        """The runs of a plan with spaces, whose search lies in ``folder``.

        Raises:
            EnvironmentFailure: Optuna is not installed, or the storage cannot be used.
        """
        self._places: list[tuple[Space, Study, int, int]] = []
        self._prunes: dict[Study, StudyPlace] = {}
        self._cells: dict[tuple[Study, int], list[tuple[str, Config]]] = {}
        for space in plan.spaces:
            place = _place_of(plan, space, folder)
            study = Study(place)
            if place.prunes:
                self._prunes[study] = place
            self._places += [
                (space, study, number, seed)
                for number in range(space.first.search)
                for seed in range(space.first.seeds)
            ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int) -> Config:
        """The run at a place, whose setting is drawn now where nobody has drawn it yet."""
        return self._cell(place)[1]

    def label(self, place: int) -> str:
        """The setting of the run at a place."""
        return self._cell(place)[0]

    def runner(self, place: int, run: Runner[R]) -> Runner[R]:
        """What carries out the run at a place, which may end early."""
        _, study, number, _ = self._places[place]
        where = self._prunes.get(study)
        return run if where is None else partial(_watched, run, where, number)

    def tell(self, place: int, finished: Finished[R]) -> None:
        """Let the study know of a finished run.

        Raises:
            UsageError: an earlier version of advlab carried it out, and it has no figure to choose
                by.
        """
        space, study, number, seed = self._places[place]
        figure = finished.result.chosen_by()
        if figure is None:
            raise UsageError(
                f"{finished.folder} holds no figure on validation data, which earlier versions did "
                "not measure; --overwrite carries it out again"
            )
        history = _history(finished.folder, figure.field) if study in self._prunes else ()
        value = finished.result.headline_value(figure)
        study.tell(number, seed, space.first.seeds, value, history)

    def pruned(self) -> list[PrunedSetting]:
        """The settings whose trainings were ended early."""
        ended = []
        for place, (_, study, number, _) in enumerate(self._places):
            pruned = study.pruned(number) if study in self._prunes else None
            if pruned is not None:
                label, config = self._cell(place)
                ended.append(PrunedSetting(label, config, pruned.epoch, pruned.best))
        return ended

    def _cell(self, place: int) -> tuple[str, Config]:
        space, study, number, seed = self._places[place]
        if (study, number) not in self._cells:
            self._cells[study, number] = space.cells(study.setting(number, space))
        return self._cells[study, number][seed]


def _history(folder: Path, figure: str) -> list[float]:
    """A figure after every epoch of a finished run.

    Raises:
        EnvironmentFailure: the file that holds it is damaged.
    """
    try:
        return [float(line[figure]) for line in read_lines(folder / _HISTORY)]
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentFailure(f"{folder / _HISTORY} is damaged ({error})") from error


def check() -> None:
    """Refuse a search that keeps a study where it cannot be carried out.

    Raises:
        UsageError: several processes train together.
        EnvironmentFailure: Optuna is not installed.
    """
    if current().size > 1:
        raise UsageError(
            f"{_WHAT} carries out each run in one process; start it without torchrun, and with "
            "--workers for several runs at a time"
        )
    optional("optuna", _WHAT, "search")


def begin(plan: Plan, folder: Path, anew: bool) -> None:
    """Prepare the claimed folder of a search for its study.

    Args:
        anew: whether to forget the trials of an earlier one.
    """
    for name in (_JOURNAL, _LOCK):  # listed as files of advlab, which write in them by themselves
        if not (folder / name).exists():
            write_text(folder / name, "")
    for space in plan.spaces:
        place = _place_of(plan, space, folder)
        if anew and place.url is not None:
            Study(place).remove()


def sameness(plan: Plan) -> str:
    """A text that two lines share if they are the same search. The number of settings is none of
    it: a search may go on with more of them."""
    searched = [
        [
            space.label,
            space.component,
            {key: str(choice) for key, choice in space.varied.items()},
            {
                key: value
                for key, value in identity_of(space.first).items()
                if key not in space.varied
            },
            [space.first.seeds, *drawn_by(space).values()],
        ]
        for space in plan.spaces
    ]
    return json.dumps([plan.command.name, searched], sort_keys=True)


def drawn_by(space: Space) -> dict[str, str]:
    """How the settings of a search are drawn, and which of its trainings are ended early."""
    return {"sampler": space.first.sampler, "pruner": getattr(space.first, "pruner", "none")}


def _place_of(plan: Plan, space: Space, folder: Path) -> StudyPlace:
    """Where the study of a space is kept. Trials on other data, though of the same name, are of
    another study: one that was pruned there would never be trained here."""
    of_texts = plan.command.takes(space.component) == "texts"
    data = load_texts.load(space.first) if of_texts else load_images.load_to_train(space.first)
    made_of = f"{sameness(plan)} {data.sha256()}"
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    return StudyPlace(
        folder=folder,
        name=f"advlab {plan.command.name} {space.label or space.component} {digest}",
        url=space.first.storage,
        lower_is_better=space.first.lower_is_better,
        prunes=drawn_by(space)["pruner"] != "none",
    )


def _watched(run: Runner[R], place: StudyPlace, number: int, config: Config) -> Finished[R]:
    """Carry out the run of a trial, in this process or in a worker's.

    Raises:
        Pruned: it was ended early, now or before.
    """
    study = Study(place)
    pruned = study.pruned(number)
    if pruned is not None:
        raise pruned
    with pruning.judged_by(lambda values: study.ends(number, values)):
        return run(config)
