"""Trackers: what they read is what the runs hold, exported or under way.

TensorBoard is part of the environment of the tests. The tests of wandb and MLflow are skipped where
these packages are not installed.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from advlab.cli.main import main


def read_back(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return events


def exported(runs: Path, out: Path, *words: str) -> int:
    return main(["export", "tensorboard", *words, "--out", str(runs), "--to", str(out)])


def test_tensorboard_reads_the_history_the_figures_and_the_options(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(runs, tmp_path, "train/small", "train/other") == 0
    assert "2 runs" in capsys.readouterr().out
    for name in ("small", "other"):
        run = runs / "train" / name
        metrics = json.loads((run / "metrics.json").read_text())
        history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        events = read_back(tmp_path / "train" / name)
        for figure in ("loss", "val_accuracy", "lr"):
            scalars = events.Scalars(figure)
            assert [scalar.step for scalar in scalars] == [line["epoch"] for line in history]
            assert [scalar.value for scalar in scalars] == pytest.approx(
                [line[figure] for line in history], rel=1e-6
            )
            clocks = [scalar.wall_time for scalar in scalars]
            assert np.diff(clocks) == pytest.approx(
                np.diff([line["seconds"] for line in history]), abs=1e-2
            )
        (accuracy,) = events.Scalars("test_accuracy")
        assert accuracy.value == pytest.approx(metrics["test_accuracy"], rel=1e-6)
        assert set(events.Tags()["images"]) == {path.stem for path in run.glob("*.png")}
        (curves,) = events.Images("curves")
        with Image.open(run / "curves.png") as picture:
            assert (curves.width, curves.height) == picture.size
        parameters = events.SummaryMetadata("_hparams_/session_start_info")
        assert b"batch_size" in parameters.plugin_data.content


def test_two_runs_of_one_name_are_not_written_over_each_other(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "train" / "other", tmp_path / "second" / "train" / "other")
    second = str(tmp_path / "second" / "train" / "other")
    assert exported(runs, tmp_path / "to", "train/other", second) == 2
    assert "two of the runs are called train/other there" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_an_export_is_replaced_where_it_is_asked_for(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(runs, tmp_path, "train/other") == 0
    (tmp_path / "train" / "other" / "mine.txt").write_text("mine")
    assert exported(runs, tmp_path, "train/other") == 2
    assert "holds the run train/other already; --overwrite replaces it" in capsys.readouterr().err
    assert exported(runs, tmp_path, "train/other", "--overwrite") == 0
    assert len(read_back(tmp_path / "train" / "other").Scalars("test_accuracy")) == 1
    assert (tmp_path / "train" / "other" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "export: which tracker?; 'advlab export mlflow|tensorboard|trackio|wandb RUN ...'"),
        (["tensorbord", "train/small"], 2, "did you mean 'tensorboard'?"),
        (["tensorboard"], 2, "names of runs are missing"),
        (["tensorboard", "train/nothing"], 2, "there is no finished run train/nothing"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_line(
    words: list[str],
    status: int,
    message: str,
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", *words, "--out", str(runs), "--to", str(tmp_path / "to")]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "to").exists()


def test_the_package_is_named_where_it_is_missing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert exported(runs, tmp_path / "to", "train/small") == 1
    assert "pip install 'advlab[tensorboard]'" in capsys.readouterr().err


def test_trainings_of_one_history_are_series_of_their_own(runs: Path, tmp_path: Path) -> None:
    """A run of memorize trains once for each fraction of random labels."""
    line = "memorize mlp --width 4 --train-size 20 --epochs 2 --seeds 1 --random-labels 0.5 1"
    out = tmp_path / "runs"
    assert main([*line.split(), "--name", "both", "--out", str(out), "--dataset", "digits"]) == 0
    assert exported(out, tmp_path / "events", "memorize/both") == 0
    events = read_back(tmp_path / "events" / "memorize" / "both")
    written = (out / "memorize/both/history.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in written]
    for fraction in (0.5, 1):
        scalars = events.Scalars(f"random_fraction_{fraction:g}/loss")
        expected = [line for line in history if line["random_fraction"] == fraction]
        assert [scalar.step for scalar in scalars] == [1, 2]
        assert [scalar.value for scalar in scalars] == pytest.approx(
            [line["loss"] for line in expected], rel=1e-6
        )


def test_a_damaged_history_is_named(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "train" / "broken"
    run.mkdir(parents=True)
    for name in ("metrics.json", "identity.json"):
        (run / name).write_bytes((runs / "train" / "small" / name).read_bytes())
    (run / "history.jsonl").write_text('{"epoch": 1\n')
    assert exported(tmp_path, tmp_path / "to", "train/broken") == 1
    assert f"{run / 'history.jsonl'} is damaged" in capsys.readouterr().err


# --- while a run is under way ---------------------------------------------------------------------
TRACKED = (
    "train mlp --dataset digits --train-size 100 --width 8 --batch-size 50 --precision fp32 "
    "--device cpu --threads 1 --name it --epochs 3"
)


def test_a_run_is_tracked_while_it_is_under_way_and_once_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped after its second epoch, when two epochs can be seen; three after it has gone on."""
    from advlab.training import fit

    monkeypatch.setattr("advlab.runs.tracking._BETWEEN_LOOKS", 0.01)
    events = tmp_path / "tensorboard" / "train" / "it"
    write = fit._write_history

    def stops(folder: Path, progress: fit.TrainingProgress) -> None:
        write(folder, progress)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    line = [*TRACKED.split(), "--track", "tensorboard", "--out", str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(fit, "_write_history", stops)
        assert main(line) == 130
    assert [scalar.step for scalar in read_back(events).Scalars("loss")] == [1, 2]
    capsys.readouterr()
    assert main(line) == 0
    after = read_back(events)
    history = (tmp_path / "train/it/history.jsonl").read_text().splitlines()
    losses = [json.loads(record)["loss"] for record in history]
    assert [scalar.step for scalar in after.Scalars("loss")] == [1, 2, 3]
    assert [scalar.value for scalar in after.Scalars("loss")] == pytest.approx(losses, rel=1e-6)
    assert "curves" in after.Tags()["images"]
    assert len(after.Scalars("test_accuracy")) == 1
    assert exported(tmp_path, tmp_path / "tensorboard", "train/it") == 2, "it is there already"


def test_tracking_changes_no_run(tmp_path: Path) -> None:
    plain = [*TRACKED.split(), "--out", str(tmp_path / "plain")]
    assert main(plain) == 0
    assert (
        main([*TRACKED.split(), "--track", "tensorboard", "--out", str(tmp_path / "tracked")]) == 0
    )
    for name in ("model.safetensors", "identity.json"):
        files = [tmp_path / place / "train/it" / name for place in ("plain", "tracked")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert main([*plain, "--track", "tensorboard"]) == 0, "it is the same run"
    assert not (tmp_path / "plain" / "tensorboard").exists()


def test_what_cannot_be_written_ends_the_tracking_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    line = [*TRACKED.split(), "--track", "tensorboard", "--out", str(tmp_path)]
    assert main(line) == 0
    assert "--track tensorboard: stopped, [Errno 28] No space left" in capsys.readouterr().out
    assert (tmp_path / "train/it/metrics.json").is_file()


def test_tracking_without_tensorboard_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    line = [*TRACKED.split(), "--track", "tensorboard", "--out", str(tmp_path / "out")]
    assert main(line) == 1
    assert "--track tensorboard needs the package tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- the other trackers ---------------------------------------------------------------------------
HISTORY = ("loss", "val_accuracy", "lr")


def stored(run: Path) -> tuple[dict[str, list[tuple[int, float]]], float]:
    """The figures of a run's history by name, as (epoch, value), and its test accuracy."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    figures = {name: [(line["epoch"], line[name]) for line in lines] for name in HISTORY}
    return figures, json.loads((run / "metrics.json").read_text())["test_accuracy"]


def wandb_records(file: Path) -> Iterator[bytes]:
    """The records of an offline run: the log format of LevelDB after a head of seven bytes."""
    data, block, begun = file.read_bytes(), 32_768, b""
    place = 7
    while place + 7 <= len(data):
        if block - place % block < 7:  # no room for a head at the end of a block
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        begun += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield begun
            begun = b""


def from_wandb(top: Path, name: str) -> tuple[dict[str, list[tuple[int, float]]], float, set[str]]:
    """Figures by name as (step, value), the headline and the names of the options."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = (top / name / "wandb").glob("offline-run-*/run-*.wandb")
    records: list[Any] = []
    for _ in range(200):  # wandb's own process may still be writing the end
        records = [Record.FromString(data) for data in wandb_records(file)]
        if records and records[-1].WhichOneof("record_type") == "exit":
            break
        time.sleep(0.05)
    figures: dict[str, list[tuple[int, float]]] = {}
    summary: dict[str, Any] = {}
    options: set[str] = set()
    for record in records:
        line = {
            (item.key or ".".join(item.nested_key)): json.loads(item.value_json)
            for item in record.history.item
        }
        for key, value in line.items():
            if key in HISTORY:
                figures.setdefault(key, []).append((line["step"], value))
        for item in record.summary.update:
            summary[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        options |= {item.key or ".".join(item.nested_key) for item in record.config.update}
    return figures, summary["test_accuracy"], options


def from_mlflow(top: Path, name: str) -> tuple[dict[str, list[tuple[int, float]]], float, set[str]]:
    """The same from MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{(top / 'mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("advlab")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`advlab.run` = '{name}'")
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.note.content"].startswith("test accuracy")
    assert "curves.png" in {one.path for one in client.list_artifacts(run.info.run_id)}
    figures = {
        key: [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, key)]
        for key in HISTORY
    }
    return figures, run.data.metrics["test_accuracy"], set(run.data.params)


def from_trackio(
    top: Path, name: str
) -> tuple[dict[str, list[tuple[int, float]]], float, set[str]]:
    """The same from Trackio."""
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = [one for one in trackio.Api().runs("advlab") if one.name == name]
    logs = SQLiteStorage.get_logs("advlab", name)
    figures = {key: [(line["step"], line[key]) for line in logs if key in line] for key in HISTORY}
    (summary,) = [line["summary"] for line in logs if "summary" in line]
    assert summary.startswith("test accuracy")
    (picture,) = [line["curves"] for line in logs if "curves" in line]
    assert (top / "media" / picture["file_path"]).is_file()
    (accuracy,) = [line["test_accuracy"] for line in logs if "test_accuracy" in line]
    return figures, accuracy, set(run.config)


READERS = {"wandb": from_wandb, "mlflow": from_mlflow, "trackio": from_trackio}


def skip_without(tracker: str) -> None:
    """Skip a test where the tracker is not installed, without importing it."""
    if importlib.util.find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed")


@pytest.fixture(autouse=True)
def no_folder_of_trackio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackio keeps the folder that it was imported with, and each test has its own."""
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("tracker", READERS)
def test_other_trackers_read_the_history_the_figures_and_the_options(
    tracker: str,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    skip_without(tracker)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    line = ["export", tracker, "train/small", "--out", str(runs), "--to", str(tmp_path)]
    assert main(line) == 0
    for again in (line, [*line, "--overwrite"]):
        figures, accuracy, options = READERS[tracker](tmp_path, "train/small")
        expected, test_accuracy = stored(runs / "train/small")
        assert accuracy == pytest.approx(test_accuracy)
        assert set(figures) == set(expected)
        for name, points in expected.items():
            assert [step for step, _ in figures[name]] == [step for step, _ in points]
            assert [value for _, value in figures[name]] == pytest.approx(
                [value for _, value in points]
            )
        assert {"command", "component", "batch_size"} <= options
        assert main(again) == (2 if again is line else 0)
    assert "holds the run train/small already" in capsys.readouterr().err


@pytest.mark.parametrize("tracker", READERS)
def test_other_trackers_follow_a_run_once_only(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is stopped after its second epoch and goes on has each epoch once."""
    skip_without(tracker)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("advlab.runs.tracking._BETWEEN_LOOKS", 0.01)
    from advlab.training import fit

    write = fit._write_history

    def stops(folder: Path, progress: fit.TrainingProgress) -> None:
        write(folder, progress)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    line = [*TRACKED.split(), "--track", tracker, "--out", str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(fit, "_write_history", stops)
        assert main(line) == 130
    assert main(line) == 0
    figures, accuracy, _ = READERS[tracker](tmp_path / tracker, "train/it")
    expected, test_accuracy = stored(tmp_path / "train/it")
    assert accuracy == pytest.approx(test_accuracy)
    assert [step for step, _ in figures["loss"]] == [step for step, _ in expected["loss"]]


@pytest.mark.parametrize("tracker", READERS)
def test_a_tracker_that_is_not_installed_is_named(
    tracker: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    line = [*TRACKED.split(), "--track", tracker, "--out", str(tmp_path / "out")]
    assert main(line) == 1
    assert f"pip install 'advlab[{tracker}]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Failing:
    """A tracker that fails in one of its steps, with an error of its own kind."""

    fails = ""

    def __init__(self, top: Path, name: str) -> None:
        self._step("begin")

    def _step(self, name: str) -> None:
        if name == self.fails:
            raise LookupError("no such server")

    def figure(self, name: str, value: float, step: int, clock: float) -> None:
        self._step("figure")

    def flush(self) -> None:
        self._step("flush")

    def conclude(self, end: object) -> None:
        self._step("conclude")

    def close(self) -> None:
        self._step("close")


@pytest.mark.parametrize("step", ["begin", "figure", "flush", "conclude", "close"])
def test_a_tracker_that_fails_does_not_take_the_run_with_it(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("advlab.runs.trackers.tensorboard.Tracker", Failing)
    monkeypatch.setattr(Failing, "fails", step)
    line = [*TRACKED.split(), "--track", "tensorboard", "--out", str(tmp_path)]
    finished = (tmp_path / "train/it/metrics.json").is_file
    if step == "begin":
        assert main(line) == 1
        assert "cannot begin the run train/it (LookupError: no such" in capsys.readouterr().err
        assert not finished()
    else:
        assert main(line) == 0
        assert "--track tensorboard: stopped, no such server" in capsys.readouterr().out
        assert finished()
