"""Searches that keep a study: which settings Optuna draws, how many, and what is ended early."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import pytest
from made_results import train_result
from safetensors.torch import load_file

from advlab.cli.main import main
from advlab.config.resolve import Config, Space, resolve
from advlab.config.search import settings
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.study import Study, StudyPlace, _watched
from advlab.results.train import TrainResult
from advlab.runs import pruning
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.pruning import Pruned
from advlab.runs.results import Finished

experiment = importlib.import_module("advlab.experiments.train.run")

needs_optuna = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None,
    reason="needs the package optuna: pip install 'advlab[search]'",
)
SPACE = "--lr 1e-4..1e-1 --width 4..400"
LINE = f"train mlp --dataset digits {SPACE} --sampler tpe"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class StandIn:
    """Carries out runs whose validation accuracy is best at a rate of 0.01 and a width of 40."""

    def __init__(self) -> None:
        self.carried_out: list[Config] = []
        self.before: Callable[[int], object] = lambda number: None

    def run(self, config: Config) -> Finished[TrainResult]:
        def measure(folder: Path) -> TrainResult:
            self.before(len(self.carried_out))
            self.carried_out.append(config)
            return train_result(
                seed=config.options.seed,
                val_accuracy=1 - distance(config.options) / 10 - config.options.seed / 1000,
                test_accuracy=0.5,
            )

        return carry_out(Experiment(config, {}, TrainResult, measure))

    @property
    def drawn(self) -> list[tuple[float, int]]:
        return [(cell.options.lr, cell.options.width) for cell in self.carried_out]


def distance(options: Any) -> float:
    """In orders of magnitude, from the best setting."""
    return abs(math.log10(options.lr) + 2) + abs(math.log10(options.width / 40))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setattr(experiment, "run", made.run)
    return made


def searched(line: str) -> int:
    return main(line.split())


def metrics(folder: str) -> Any:
    (found,) = Path(folder, "compare").glob("*/metrics.json")
    return json.loads(found.read_text())


# --- refusals -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train mlp --sampler tpe", "--sampler: goes with --search N"),
        ("train mlp --lr .1 .2 --pruner median", "--pruner: goes with --search N"),
        ("train mlp --storage sqlite:///a.db", "--storage: goes with --search N"),
        (f"{LINE} --search 4 --pruner median --seeds 2", "--pruner: compares single runs"),
        (f"{LINE} --search 4 --storage studies.db", "must be the URL of a database, such as"),
        ("train mlp --search 4 --lr .1..1 --sampler tpo", "must be one of random, tpe"),
        ("contrast --search 2 --lr .1..1 --pruner median", "--pruner: belongs to 'advlab train'"),
        ("gan train --search 2 --lr .1..1 --pruner median", "--pruner: belongs to 'advlab train'"),
        (
            "train mlp --sampler tpe --search 5 --width 4 8",
            "2 different settings were found and 5 asked",
        ),
    ],
)
def test_what_cannot_be_searched(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert searched(line) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said
    assert not Path("samples").exists()


def test_a_missing_package_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert searched(f"{LINE} --search 4") == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith("needs the package optuna; pip install 'advlab[search]'")
    assert not Path("samples").exists()


def test_a_file_names_no_database(capsys: pytest.CaptureFixture[str]) -> None:
    Path("plan.yaml").write_text("command: train\nmodel: mlp\nstorage: sqlite:///a.db\n")
    assert searched("--config plan.yaml --search 4 --lr .1..1") == 2
    assert "names a database to connect to" in capsys.readouterr().err


# --- what is drawn --------------------------------------------------------------------------------
@needs_optuna
def test_the_first_settings_are_those_of_random_search_and_the_rest_are_better(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert searched(f"{LINE} --search 30") == 0
    random = resolve("train", ["mlp"], flags("--search 30"), None)
    by_chance = [(cell.options.lr, cell.options.width) for cell in random.cells]
    assert len(set(stand_in.drawn)) == 30
    assert stand_in.drawn[:10] == by_chance[:10]
    assert all(float(f"{rate:.3g}") == rate for rate, _ in stand_in.drawn)
    guided = median(distance(cell.options) for cell in stand_in.carried_out[10:])
    assert guided < median(distance(cell.options) for cell in random.cells[10:]) * 2 / 3
    best = max(1 - distance(cell.options) / 10 for cell in stand_in.carried_out)
    assert "best setting of a TPE search: lr " in capsys.readouterr().out
    values = metrics("samples")
    assert (values["sampler"], values["pruner"], values["pruned"]) == ("tpe", "none", [])
    assert values["settings"][0]["mean"] == pytest.approx(best)
    assert len(values["settings"]) == 30


def flags(line: str) -> dict[str, Any]:
    values = dict(part.split() for part in f"{SPACE} {line}".split("--")[1:])
    return {"dataset": "digits", **values}


@needs_optuna
@pytest.mark.parametrize("stop", [4, 11])
def test_a_search_that_is_stopped_goes_on_with_the_settings_of_an_unbroken_one(
    stand_in: StandIn, stop: int
) -> None:
    assert searched(f"{LINE} --search 13 --out whole") == 0
    unbroken = stand_in.drawn
    stand_in.carried_out.clear()

    def interrupt(number: int) -> None:
        if number == stop:
            stand_in.before = lambda _: None
            raise KeyboardInterrupt

    stand_in.before = interrupt
    assert searched(f"{LINE} --search 13") == 130
    assert searched(f"{LINE} --search 13") == 0
    assert stand_in.drawn == unbroken
    assert metrics("samples")["settings"] == moved(metrics("whole")["settings"])


def moved(found: list[Any]) -> list[Any]:
    """The settings of a search under ``whole`` as they are under ``samples``."""
    loaded: list[Any] = json.loads(json.dumps(found).replace("whole/", "samples/"))
    return loaded


@needs_optuna
def test_more_and_fewer_settings_are_the_same_search(stand_in: StandIn) -> None:
    for count, new in [(11, 11), (11, 0), (5, 0), (12, 1)]:
        stand_in.carried_out.clear()
        assert searched(f"{LINE} --search {count}") == 0
        assert len(stand_in.carried_out) == new
        assert len(metrics("samples")["settings"]) == count
    stand_in.carried_out.clear()
    assert searched(f"{LINE} --search 12 --out whole") == 0
    assert metrics("samples")["settings"] == moved(metrics("whole")["settings"])


@needs_optuna
def test_settings_differ_where_there_are_few(stand_in: StandIn) -> None:
    line = "train mlp --dataset digits --lr 1e-3 1e-2 1e-1 --width 4..8 --sampler tpe --search 15"
    assert searched(line) == 0
    assert len(set(stand_in.drawn)) == len(stand_in.drawn) == 15, "every setting that there is"


@needs_optuna
def test_values_that_do_not_go_together_are_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good settings alone are refused, which the sampler proposes all the more."""
    (space,) = resolve("train", ["mlp"], flags("--sampler tpe --search 40"), None).spaces

    def refused(self: Space, values: Mapping[str, Any]) -> list[Any]:
        if values["lr"] < 0.05:
            raise UsageError("these do not go together")
        return []

    monkeypatch.setattr(Space, "cells", refused)
    study = Study(study_in(tmp_path))
    drawn = []
    for number in range(14):
        values = study.setting(number, space)
        lr, width = cast(float, values["lr"]), cast(int, values["width"])
        drawn.append((lr, width))
        study.tell(number, 0, 1, 1 - lr)
    by_chance = settings(space.varied, 40, 0)
    later = [one for one in drawn[10:] if one[0] < 0.05]
    assert later
    assert set(later) <= set(by_chance)


def study_in(folder: Path) -> StudyPlace:
    (folder / "study.journal").touch()
    return StudyPlace(folder, "it", None, lower_is_better=False, prunes=False)


@needs_optuna
def test_a_setting_is_judged_by_the_mean_over_its_seeds(stand_in: StandIn) -> None:
    assert searched(f"{LINE} --search 3 --seeds 2") == 0
    rates = [rate for rate, _ in stand_in.drawn]
    assert rates[::2] == rates[1::2]
    (folder,) = Path("samples/compare").iterdir()
    told = {trial.params["lr"]: trial.value for trial in trials_of(folder)}
    for setting in metrics("samples")["settings"]:
        assert [run["seed"] for run in setting["runs"]] == [0, 1]
    means = sorted(setting["mean"] for setting in metrics("samples")["settings"])
    assert sorted(told.values()) == pytest.approx(means)
    assert set(told) == set(rates)


def trials_of(folder: Path) -> Any:
    optuna: Any = importlib.import_module("optuna")
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    storage = optuna.storages.JournalStorage(backend)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


@needs_optuna
def test_a_run_that_fails_is_tried_again_and_counts_as_one_setting(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise EnvironmentFailure("the loss stopped being a number")

    stand_in.before = fail
    assert searched(f"{LINE} --search 5") == 1
    assert "3 of 5 runs did not finish" in capsys.readouterr().out
    stand_in.before = lambda number: None
    assert searched(f"{LINE} --search 5") == 0
    assert len(set(stand_in.drawn)) == len(stand_in.drawn) == 5


@needs_optuna
def test_searches_are_not_taken_for_each_other(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    line = LINE.replace(" --sampler tpe", "")
    assert searched(f"{line} --sampler tpe --search 3 --name found") == 0
    for other in ("", "--sampler tpe --seed 1", "--sampler tpe --pruner median"):
        assert searched(f"{line} {other} --search 3 --name found") == 2
        assert "samples/compare/found holds another run (" in capsys.readouterr().err
    assert searched(f"{line} --search 3 --name random") == 0
    assert searched(f"{line} --sampler tpe --search 3 --name random") == 2
    assert "sampler random there, tpe here" in capsys.readouterr().err


@needs_optuna
def test_overwrite_begins_the_study_anew(stand_in: StandIn) -> None:
    line = f"{LINE} --search 3 --name found"
    assert searched(line) == 0
    (journal,) = Path("samples").glob("compare/*/study.journal")
    lines = len(journal.read_text().splitlines())
    assert searched(f"{line} --overwrite") == 0
    assert len(stand_in.carried_out) == 6
    assert len(journal.read_text().splitlines()) == lines
    assert main(["remove", "compare/found"]) == 0
    assert not journal.parent.exists()


@needs_optuna
def test_a_database_keeps_the_study(stand_in: StandIn) -> None:
    import optuna

    url = f"sqlite:///{Path('studies.db').absolute()}"
    line = f"{LINE} --search 12 --storage {url}"
    assert searched(line) == 0
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    assert study.direction.name == "MAXIMIZE"
    assert [(trial.params["lr"], trial.params["width"]) for trial in study.trials] == stand_in.drawn
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    (folder,) = Path("samples/compare").iterdir()
    assert not any(b"sqlite" in file.read_bytes() for file in folder.iterdir())
    drawn = stand_in.drawn
    stand_in.carried_out.clear()
    assert searched(f"{LINE} --search 12 --out elsewhere") == 0
    assert stand_in.drawn == drawn, "it makes no difference where the study is"
    assert searched(f"{line} --overwrite") == 0
    assert optuna.get_all_study_names(url) == [name]


@needs_optuna
def test_a_study_on_other_data_of_the_same_name_is_another_one(stand_in: StandIn) -> None:
    """Otherwise its trials would stand for trainings that these data never had."""
    import optuna

    url = f"sqlite:///{Path('studies.db').absolute()}"
    line = f"{LINE.replace('digits', 'npz:data.npz')} --search 2 --storage {url}"
    for number in range(2):
        images = np.full((40, 6, 6), 10 * number, dtype=np.uint8)
        images[::2] += 100
        np.savez("data.npz", images=images, labels=np.arange(40) % 2)
        assert searched(f"{line} --out samples{number}") == 0
    assert len(optuna.get_all_study_names(url)) == 2
    assert len(stand_in.carried_out) == 4


@needs_optuna
def test_a_storage_that_cannot_be_used_is_one_line(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert searched(f"{LINE} --search 4 --storage sqlite:////nowhere/at/all.db") == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "--storage: the study cannot be used (" in said


# --- several processes ----------------------------------------------------------------------------
@needs_optuna
def test_two_processes_share_the_settings_of_a_study(tmp_path: Path) -> None:
    """Each has its own view of the journal, as two processes have."""
    (space,) = resolve("train", ["mlp"], flags("--sampler tpe --search 6"), None).spaces
    one, other = Study(study_in(tmp_path)), Study(study_in(tmp_path))
    first = one.setting(0, space)
    assert other.setting(0, space) == first
    second = other.setting(1, space)
    assert one.setting(1, space) == second != first
    with (tmp_path / "study.journal").open("ab") as file:
        file.write(b'{"op_code": 4, "a full')  # disk, which broke the line off
    other.tell(1, 0, 1, 0.25)
    one.tell(1, 0, 1, 0.25)  # it found the run finished
    one.tell(0, 0, 2, 0.5)
    assert [trial.state.name for trial in trials_of(tmp_path)] == ["RUNNING", "COMPLETE"]
    other.tell(0, 1, 2, 0.7)
    assert [trial.value for trial in trials_of(tmp_path)] == [0.6, 0.25]


def half_trained(config: Config) -> Finished[TrainResult]:
    """A run that carries out another one on its way, and then its own first epoch."""
    own, inner = Path("own"), Path("inner")
    own.mkdir(exist_ok=True)
    bad = [{"val_accuracy": 0.1}]
    pruning.begin(own)
    pruning.begin(inner)
    pruning.check(inner, bad, "val_accuracy")
    pruning.check(own, [], "val_accuracy")
    pruning.check(own, bad, "val_accuracy")
    raise AssertionError("it went on")


@needs_optuna
def test_a_run_is_ended_in_another_process_too(tmp_path: Path) -> None:
    (space,) = resolve("train", ["mlp"], flags("--search 6 --sampler tpe"), None).spaces
    place = replace(study_in(tmp_path), prunes=True)
    study = Study(place)
    for number in range(6):
        study.setting(number, space)
    for number in range(5):
        study.tell(number, 0, 1, 0.9, [0.2, 0.9])
    (_, config) = space.cells(study.setting(5, space))[0]
    sent = pickle.loads(pickle.dumps(partial(_watched, half_trained, place, 5)))
    with pytest.raises(Pruned, match=r"^pruned after epoch 1: its validation figure, 10.00 %"):
        sent(config)
    mark = Path("own/pruned.json")
    assert json.loads(mark.read_text())["epoch"] == 1
    mark.unlink()
    with pytest.raises(Pruned, match="pruned after epoch 1"):
        sent(config)
    assert not mark.exists(), "it was known before the run began"
    assert trials_of(tmp_path)[5].intermediate_values == {1: 0.1}


# --- pruning --------------------------------------------------------------------------------------
REAL = (
    "train mlp --dataset digits --train-size 200 --batch-size 50 --epochs 4 --width 16 --threads 1 "
    "--precision fp32 --device cpu --lr 1e-4..1e-1"
)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of ten settings that ends some of them early."""
    out = tmp_path_factory.mktemp("pruned")
    assert searched(f"{REAL} --search 8 --pruner median --out {out}") == 0
    return out


def history(run: Path) -> list[float]:
    lines = (run / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["val_accuracy"] for line in lines]


@needs_optuna
def test_what_is_below_the_median_at_its_epoch_is_ended_and_nothing_else(pruned: Path) -> None:
    """The rule, written out once more from the histories: after five runs, the best figure so far
    against the median of the finished runs at the same epoch."""
    finished: list[list[float]] = []
    ended = 0
    for rate in drawn_rates(8):
        run = run_of(pruned, rate)
        figures = history(run)
        expected = 4
        for epoch in range(1, 4) if len(finished) >= 5 else ():
            if max(figures[:epoch]) < median(one[epoch - 1] for one in finished):
                expected = epoch
                break
        assert len(figures) == expected
        assert (run / "metrics.json").exists() == (expected == 4)
        if expected == 4:
            finished.append(figures)
        else:
            ended += 1
            mark = json.loads((run / "pruned.json").read_text())
            assert mark == {"epoch": expected, "figure": "val_accuracy", "best": max(figures)}
    assert ended >= 1
    assert len(finished) >= 6, "one was compared and went on"
    values = metrics(str(pruned))
    assert (len(values["settings"]), len(values["pruned"])) == (8 - ended, ended)
    assert values["sampler"] == "random"


def drawn_rates(count: int) -> list[float]:
    """Those of the random search without a pruner."""
    (space,) = resolve(
        "train", ["mlp"], {"lr": "1e-4..1e-1", "search": count, "pruner": "median"}, None
    ).spaces
    return [rate for (rate,) in settings(space.varied, count, 0)]


def run_of(out: Path, rate: float) -> Path:
    """The folder of the run with this learning rate."""
    (found,) = [
        file.parent
        for file in out.glob("train/*/config.yaml")
        if f"\nlr: {rate}\n" in file.read_text()
    ]
    return found


@needs_optuna
def test_what_was_ended_is_shown_and_never_chosen(
    pruned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = (pruned / "compare").iterdir()
    table = (folder / "table.md").read_text()
    values = metrics(str(pruned))
    for one in values["pruned"]:
        best = f"{100 * one['value']:.2f} %"
        assert f"{one['setting']} | 1 " in " ".join(table.split())
        assert f"pruned after epoch {one['epoch']}, at {best}" in table
    assert f"{len(values['pruned'])} of 8 settings were pruned" in table
    before = table
    assert searched(f"{REAL} --search 8 --pruner median --out {pruned}") == 0
    assert "pruned after epoch" in capsys.readouterr().out
    assert (folder / "table.md").read_text() == before
    assert main(["list", "--out", str(pruned), "--command", "train"]) == 0
    assert capsys.readouterr().out.count("test accuracy") == 8 - len(values["pruned"])


@needs_optuna
def test_what_was_ended_is_no_network_to_use_and_can_be_trained_to_its_end(
    pruned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = next(pruned.glob("train/*/pruned.json")).parent
    attack = f"attack fgsm --dataset digits --model {run} --limit 5 --out {tmp_path}"
    assert searched(attack) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"{run}: a search pruned this training after epoch" in said
    repeat = said.split("'")[1].removeprefix("advlab ")
    assert searched(repeat) == 0
    assert not (run / "pruned.json").exists()
    assert (run / "metrics.json").is_file()
    assert searched(f"{repeat} --out {tmp_path / 'unbroken'}") == 0
    one, other = (
        load_file(place / "model.safetensors")
        for place in (run, tmp_path / "unbroken" / "train" / run.name)
    )
    assert all(one[name].equal(other[name]) for name in one)
