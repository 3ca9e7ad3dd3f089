"""A run's folder: whole files or none, one process at a time, finished when the result is there, found again by its settings."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from filelock import FileLock

from advlab.cli.main import main
from advlab.config.resolve import Config
from advlab.errors import UserError, WorldError
from advlab.models import mlp
from advlab.runs import files
from advlab.runs.folder import RunFolder, automatic_name, newest_finished


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(**changes: Any) -> Config:
    return Config("train", "mlp", mlp.Options(**{"dataset": "digits", **changes}))


def type_in(line: str) -> int:
    return main(line.split())


def finished(**changes: Any) -> RunFolder:
    """A folder that a run of these settings was carried to its end in."""
    folder = RunFolder(config(**changes))
    with folder.claim():
        folder.finish({"test_accuracy": 0.5, "dataset": "digits"})
    return folder


# --- files --------------------------------------------------------------------------------------------------------------
def test_a_file_is_written_and_read_back(tmp_path: Path) -> None:
    value = {"ε": [0.1, 0.1 + 0.2, 1e-300], "none": None, "words": 'a "quoted"\nline'}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert "ε" in (tmp_path / "a.json").read_text(encoding="utf-8")
    files.write_text(tmp_path / "b.txt", "naïve\r\nlines\n")
    assert (tmp_path / "b.txt").read_bytes() == "naïve\r\nlines\n".encode(), "and no line end is changed"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), [1, {"deep": float("-inf")}]])
def test_what_is_no_number_is_no_result(bad: object, tmp_path: Path) -> None:
    files.write_json(tmp_path / "metrics.json", {"good": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "metrics.json", {"accuracy": bad})
    assert files.read_json(tmp_path / "metrics.json") == {"good": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(1), MemoryError()])
@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
def test_a_write_that_fails_at_any_moment_leaves_the_old_file(
    moment: str, fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise fault

    def write(opened: IO[bytes]) -> None:
        opened.write(b"half of what is n")
        assert file.read_bytes() == b"old", "what is being written is not in its place yet"
        if moment == "write":
            fail()

    if moment == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    if moment == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(type(fault)):
        files.write_atomically(file, write)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_bytes_are_on_the_disk_before_they_get_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renamed first, a power cut could leave an empty file where the old one was."""
    happened: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def syncing(descriptor: int) -> None:
        happened.append(f"sync {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def replacing(self: Path, target: Path) -> Path:
        happened.append(f"rename to {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", replacing)
    files.write_text(tmp_path / "file", "12345")
    assert happened[:2] == ["sync 5", "rename to file"]


def test_only_leftovers_are_swept(tmp_path: Path) -> None:
    for name in (".model.safetensors.123.tmp", ".metrics.json.9.tmp", "mine.tmp", ".lock", "metrics.json", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".deep.1.tmp").touch()
    files.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"mine.tmp", ".lock", "metrics.json", ".hidden", "sub", ".deep.1.tmp"}


# --- the folder's life --------------------------------------------------------------------------------------------------
def test_nothing_is_made_before_the_folder_is_claimed() -> None:
    folder = RunFolder(config())
    assert not folder.finished
    folder.check_unchanged()
    assert list(Path().iterdir()) == []
    with folder.claim():
        assert (folder.path / "config.yaml").is_file()
        assert not folder.finished
    assert not folder.finished


def test_a_run_is_finished_by_its_result_and_the_state_goes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(config())
    with folder.claim():
        (folder.path / "resume.pt").write_bytes(b"state")
        (folder.path / "resume-0.1.pt").write_bytes(b"state")

        def fail(self: Path, *_: object, **__: object) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", fail)
            with pytest.raises(OSError, match="Input/output"):
                folder.finish({"test_accuracy": 0.5})
        assert not folder.finished
        assert (folder.path / "resume.pt").exists(), "without a result the state is still needed"
        assert folder.finish({"test_accuracy": 0.5}) == {"test_accuracy": 0.5}
    assert folder.finished
    assert folder.metrics() == {"test_accuracy": 0.5}
    assert {path.name for path in folder.path.iterdir()} == {".lock", "config.yaml", "metrics.json"}


def test_what_an_interrupted_run_left_stays_for_its_resumption() -> None:
    folder = RunFolder(config())
    with folder.claim():
        (folder.path / "resume.pt").write_bytes(b"state")
        (folder.path / ".resume.pt.77.tmp").write_bytes(b"half a st")
    with RunFolder(config()).claim():
        assert (folder.path / "resume.pt").read_bytes() == b"state"
        assert not (folder.path / ".resume.pt.77.tmp").exists()


@pytest.mark.parametrize("changes", [{"overwrite": True}, {"resume": False}])
def test_starting_over_clears_the_folder_the_result_first(changes: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished()
    (folder.path / "resume.pt").write_bytes(b"state")
    (folder.path / "mine").mkdir()
    (folder.path / "mine" / "note.txt").write_text("not advlab's")
    removed: list[str] = []
    unlink = Path.unlink

    def counted(self: Path, missing_ok: bool = False) -> None:
        if self.exists() and self.parent.name == folder.path.name:
            removed.append(self.name)
        unlink(self, missing_ok=missing_ok)

    def listed(self: Path) -> Iterator[Path]:
        """A folder's files come in any order; here the result comes last."""
        yield from sorted(iterdir(self), key=lambda path: path.name == "metrics.json")

    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", listed)
    monkeypatch.setattr(Path, "unlink", counted)
    with RunFolder(config(**changes)).claim():
        left = {path.name for path in folder.path.iterdir()}
    assert removed[0] == "metrics.json", "a folder half cleared must not look finished"
    assert left == {".lock", "config.yaml", "mine"}
    assert (folder.path / "mine" / "note.txt").exists()


def test_other_settings_under_one_name_are_refused() -> None:
    folder = finished(name="mine", lr=0.25)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    others: list[dict[str, Any]] = [{"lr": 0.5}, {"seed": 1, "lr": 0.25}, {"dataset": "mnist", "lr": 0.25}, {"dropout": 0.5, "lr": 0.25}]
    for changes in others:
        other = RunFolder(config(name="mine", **changes))
        assert other.path == folder.path
        for action in (other.check_unchanged, other.claim().__enter__):
            with pytest.raises(UserError, match="holds a run of other settings") as caught:
                action()
            said = str(caught.value)
            assert str(folder.path) in said
            assert "another --name, or --overwrite" in said
            assert "\n" not in said
    assert "(lr 0.25 there, 0.5 here)" in refusal(config(name="mine", lr=0.5))
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
    RunFolder(config(name="mine", lr=0.5, overwrite=True)).check_unchanged()
    # Where and how it is carried out makes no other run.
    same: list[dict[str, Any]] = [{"data_dir": "elsewhere"}, {"resume": False}, {"out": "./samples"}]
    for changes in same:
        RunFolder(config(name="mine", lr=0.25, **changes)).check_unchanged()


def refusal(given: Config) -> str:
    with pytest.raises(UserError) as caught:
        RunFolder(given).check_unchanged()
    return str(caught.value)


def test_a_damaged_configuration_in_the_folder_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("samples/train/run").mkdir(parents=True)
    Path("samples/train/run/config.yaml").write_text("lr: [1, 2\n  : {{{")
    status = type_in("train mlp --dataset digits --name run --epochs 1")
    said = capsys.readouterr()
    assert status in (1, 2)
    assert len(said.err.splitlines()) == 1
    assert "config.yaml" in said.err
    assert "Traceback" not in said.err


# --- names --------------------------------------------------------------------------------------------------------------
def test_the_name_says_what_is_not_default() -> None:
    assert automatic_name(config()) == "mlp-digits-seed0"
    assert automatic_name(config(dropout=0.5, seed=3, lr=0.02)) == "mlp-digits-lr0.02-dropout0.5-seed3"
    assert automatic_name(config(out="elsewhere", overwrite=True, data_dir="there")) == "mlp-digits-seed0"


def test_different_settings_have_different_names_and_the_same_the_same() -> None:
    values: dict[str, list[Any]] = {
        "lr": [1e-3, 1.0000001e-3, 1, 1.5],
        "seed": [0, 1],
        "dropout": [0, 0.5, 1 / 3],
        "clip_norm": [None, 1, 1.5],
        "dataset": ["digits", "folder:a/b", "folder:a_b", "folder:a b", "folder:" + "x" * 300 + "1", "folder:" + "x" * 300 + "2"],
        "schedule": ["cosine", "step"],
        "train_size": [None, 100],
    }
    names: dict[str, Config] = {}
    for combination in itertools.product(*values.values()):
        given = config(**dict(zip(values, combination, strict=True)))
        name = automatic_name(given)
        assert name not in names, (given, names[name])
        assert automatic_name(given) == name
        assert len(name) <= 120
        assert name == Path(name).name
        assert not set(name) & set('/\\: *?"<>|')
        names[name] = given


# --- finding ------------------------------------------------------------------------------------------------------------
def test_the_newest_finished_run_is_found() -> None:
    out = Path("samples")
    assert newest_finished(out, "train", model="mlp") is None
    runs = {
        "a": {"model": "mlp", "dataset": "digits"},
        "b": {"model": "mlp", "dataset": "digits"},
        "c": {"model": "mlp", "dataset": "mnist"},
        "d": {"model": "cnn", "dataset": "digits"},
    }
    for number, (name, metrics) in enumerate(runs.items()):
        (out / "train" / name).mkdir(parents=True)
        files.write_json(out / "train" / name / "metrics.json", metrics)
        os.utime(out / "train" / name / "metrics.json", ns=(number * 10**9, number * 10**9))
    assert newest_finished(out, "train", model="mlp", dataset="digits") == out / "train" / "b"
    assert newest_finished(out, "train", dataset="digits") == out / "train" / "d"
    assert newest_finished(out, "train", model="mlp", dataset="svhn") is None
    assert newest_finished(out, "attack", model="mlp") is None
    os.utime(out / "train" / "a" / "metrics.json", ns=(10**11, 10**11))
    assert newest_finished(out, "train", model="mlp", dataset="digits") == out / "train" / "a"


def test_a_damaged_or_unfinished_run_is_passed_over() -> None:
    out = Path("samples/train")
    for name in ("good", "unfinished", "damaged", "empty", "binary", "folder"):
        (out / name).mkdir(parents=True)
    files.write_json(out / "good" / "metrics.json", {"model": "mlp"})
    (out / "unfinished" / "history.jsonl").write_text('{"epoch": 1}\n')
    (out / "damaged" / "metrics.json").write_text('{"model": "mlp"')
    (out / "empty" / "metrics.json").touch()
    (out / "binary" / "metrics.json").write_bytes(b"\xff\xfe\0")
    (out / "folder" / "metrics.json").mkdir()
    assert newest_finished(Path("samples"), "train", model="mlp") == out / "good"


@pytest.mark.parametrize("text", ["[]", "null", "3"])
def test_a_result_that_is_no_object_is_passed_over(text: str) -> None:
    Path("samples/train/odd").mkdir(parents=True)
    Path("samples/train/odd/metrics.json").write_text(text)
    assert newest_finished(Path("samples"), "train", model="mlp") is None


# --- one at a time ------------------------------------------------------------------------------------------------------
@pytest.fixture
def occupied() -> Iterator[Path]:
    """A run's folder that another process, a real one, is at work in."""
    folder = Path("samples/train/run")
    code = "import sys, time, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", code, str(folder / ".lock")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield folder
        process.kill()


def test_a_folder_at_work_is_refused_and_left_alone(occupied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (occupied / ".resume.pt.1.tmp").write_bytes(b"the other one is writing this")
    before = {path.name for path in occupied.iterdir()}
    started = time.monotonic()
    line = "train mlp --width 8 --dataset digits --train-size 20 --epochs 1 --name run"
    for switches in ("", " --overwrite", " --no-resume"):
        assert type_in(line + switches) == WorldError.exit_status
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1
        assert "samples/train/run is in use by another process of advlab" in said
    assert time.monotonic() - started < 8, "it does not wait"
    assert {path.name for path in occupied.iterdir()} == before


def test_a_lock_that_a_dead_process_left_is_no_lock() -> None:
    folder = RunFolder(config())
    folder.path.mkdir(parents=True)
    (folder.path / ".lock").touch()
    with folder.claim():
        pass


@pytest.mark.parametrize("leave", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_lock_is_given_back_however_the_run_ends(leave: Callable[[], BaseException]) -> None:
    folder = RunFolder(config())
    with pytest.raises(BaseException, match=r".*"), folder.claim():
        raise leave()
    with FileLock(folder.path / ".lock", timeout=0):
        pass


def test_two_runs_of_different_settings_work_side_by_side() -> None:
    with RunFolder(config(lr=0.1)).claim(), RunFolder(config(lr=0.2)).claim():
        assert len(list(Path("samples/train").iterdir())) == 2


# --- through the front door ---------------------------------------------------------------------------------------------
def test_a_finished_run_is_not_touched_by_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Not even where its checkpoint is gone: what is finished is finished, and is read from its result alone."""
    line = "train mlp --width 8 --dataset digits --train-size 20 --epochs 1 --precision fp32"
    assert type_in(line) == 0
    (folder,) = Path("samples/train").iterdir()
    result = json.loads((folder / "metrics.json").read_text())
    (folder / "model.safetensors").unlink()
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    capsys.readouterr()
    assert type_in(line) == 0
    said = capsys.readouterr().out
    assert f"{folder} is finished already: test accuracy {100 * result['test_accuracy']:.2f} %" in said
    assert type_in(f"{line} --no-resume") == 0, "--no-resume is about interrupted runs"
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == before


def test_the_result_is_the_last_file_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    replace = Path.replace

    def replacing(self: Path, target: Path) -> Path:
        written.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replacing)
    assert type_in("train mlp --width 8 --dataset digits --train-size 20 --epochs 2 --precision fp32") == 0
    assert written[0] == "config.yaml"
    assert written[-1] == "metrics.json"
    assert written.count("metrics.json") == 1
    assert {"model.safetensors", "resume.pt", "history.jsonl", "curves.png", "confusion.png", "mistakes.png"} <= set(written)


def test_a_run_that_another_process_finishes_meanwhile_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two terminals, one line: the second looks, sees no result yet, and by the time it has the lock there is one."""
    line = "train mlp --width 8 --dataset digits --train-size 20 --epochs 1 --precision fp32 --name run"
    claim = RunFolder.claim
    others: list[Any] = []

    def claiming(self: RunFolder) -> Any:
        if not others:
            others.append("the other terminal's run, from its start to its end")
            assert type_in(line) == 0
            others.append({path.name: path.stat().st_mtime_ns for path in self.path.iterdir() if path.name != "config.yaml"})
        return claim(self)

    monkeypatch.setattr(RunFolder, "claim", claiming)
    assert type_in(line) == 0
    folder = Path("samples/train/run")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "config.yaml"} == others[1]
    assert "finished already" in capsys.readouterr().out
