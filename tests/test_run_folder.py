"""A run's folder: whole files or none, one process at a time, finished when the result is there,
found again by its identity."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest
from filelock import FileLock
from made_results import train_result

from advlab.cli.main import main
from advlab.config.resolve import Config
from advlab.errors import EnvironmentFailure, UsageError
from advlab.logs import collected, logger
from advlab.models import mlp
from advlab.results.scratch import ScratchCheckResult
from advlab.results.train import TrainResult
from advlab.runs import files, results
from advlab.runs import folder as folders
from advlab.runs.files import write_text
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.results import Finished

CONTENTS = {"data": "a" * 64}
OURS = {
    *(".lock", ".files", ".checksums", "identity.json", "config.yaml"),
    *("metrics.json", "model.safetensors"),
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(**changes: Any) -> Config:
    return Config("train", "mlp", mlp.Options(**{"dataset": "digits", **changes}))


def folder_of(contents: Mapping[str, str] = CONTENTS, **changes: Any) -> RunFolder:
    return RunFolder.of(config(**changes), contents)


def type_in(line: str) -> int:
    return main(line.split())


@contextlib.contextmanager
def on_each_message(act: Callable[[str], None]) -> Iterator[None]:
    """Call ``act`` with whatever is logged meanwhile."""

    class Acting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            act(record.getMessage())

    handler = Acting()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def writing(folder: Path) -> TrainResult:
    """Work that writes a network and a state, and reports something."""
    write_text(folder / "model.safetensors", "weights")
    write_text(folder / "resume.pt", "state")
    return train_result()


def run(
    measure: Callable[[Path], TrainResult] = writing,
    report: Callable[[TrainResult], None] | None = None,
    **changes: Any,
) -> Finished[TrainResult]:
    """A run of these settings whose work is ``measure``."""
    return carry_out(Experiment(config(**changes), CONTENTS, TrainResult, measure, report))


def stop(folder: Path) -> TrainResult:
    """Work that is interrupted after it wrote its state."""
    write_text(folder / "resume.pt", "state")
    raise KeyboardInterrupt


def interrupted(**changes: Any) -> Path:
    """The folder of a run that was interrupted half-way."""
    with pytest.raises(KeyboardInterrupt):
        run(stop, **changes)
    return folder_of(**changes).path


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def refusal(given: RunFolder) -> str:
    with pytest.raises(UsageError) as caught:
        given.check_same()
    said = str(caught.value)
    assert "\n" not in said
    assert str(given.path) in said
    return said


# --- files ----------------------------------------------------------------------------------------
def test_a_file_is_written_and_read_back(tmp_path: Path) -> None:
    value = {"ε": [0.1, 0.1 + 0.2, 1e-300], "none": None, "words": 'a "quoted"\nline'}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert "ε" in (tmp_path / "a.json").read_text(encoding="utf-8")
    files.write_text(tmp_path / "b.txt", "naïve\r\nlines\n")
    assert (tmp_path / "b.txt").read_bytes() == "naïve\r\nlines\n".encode(), (
        "and no line end is changed"
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), [1, {"deep": float("-inf")}]])
def test_what_is_no_number_is_no_result(bad: object, tmp_path: Path) -> None:
    files.write_json(tmp_path / "metrics.json", {"good": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "metrics.json", {"accuracy": bad})
    assert files.read_json(tmp_path / "metrics.json") == {"good": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    "fault",
    [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(1), MemoryError()],
)
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


def test_the_bytes_are_on_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    with files.recording(tmp_path):
        (tmp_path / "ours").mkdir()
        files.write_text(tmp_path / "ours" / "a.txt", "listed")
    for name in (
        ".model.safetensors.123.tmp",
        ".metrics.json.9.tmp",
        "mine.tmp",
        ".mine.tmp",
        ".lock",
        "metrics.json",
        ".hidden",
    ):
        (tmp_path / name).touch()
    (tmp_path / "theirs").mkdir()
    for place in ("ours", "theirs"):
        (tmp_path / place / ".deep.1.tmp").touch()
    files.remove_leftovers(tmp_path)
    kept = {
        "mine.tmp",
        ".mine.tmp",
        ".lock",
        ".files",
        "metrics.json",
        ".hidden",
        "ours",
        "a.txt",
        "theirs",
        ".deep.1.tmp",
    }
    assert {path.name for path in tmp_path.rglob("*")} == kept
    assert not (tmp_path / "ours" / ".deep.1.tmp").exists()


# --- the journal ----------------------------------------------------------------------------------
def test_what_is_written_below_the_recorded_folder_is_listed_before_it_is_written(
    tmp_path: Path,
) -> None:
    run_folder, seen = tmp_path / "run", []
    (run_folder / "sub").mkdir(parents=True)
    with files.recording(run_folder):
        write_text(tmp_path / "elsewhere.txt", "not in it")
        write_text(run_folder / "a.txt", "1")
        write_text(run_folder / "a.txt", "2")
        files.write_atomically(
            run_folder / "sub" / "b.bin", lambda _: seen.append(files.journal(run_folder))
        )
        write_text(Path(os.path.relpath(run_folder)) / "c.txt", "the same folder by another path")
    write_text(run_folder / "later.txt", "nobody records any more")
    assert seen == [["a.txt", "sub/b.bin"]]
    assert files.journal(run_folder) == ["a.txt", "sub/b.bin", "c.txt"]


def test_a_line_that_was_broken_off_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / ".files").write_text("a.txt\nmodel.saf")
    with files.recording(tmp_path):
        write_text(tmp_path / "b.txt", "")
    assert files.journal(tmp_path) == ["a.txt", "model.saf", "b.txt"]


def test_a_damaged_journal_leads_nowhere_else(tmp_path: Path) -> None:
    victim = tmp_path / "photo.jpg"
    victim.touch()
    folder = interrupted()
    with (folder / ".files").open("ab") as file:
        file.write(f"{victim}\n../../../photo.jpg\n.\n\n".encode() + b"\xff\0\n")
    folders.clear(folder)
    assert victim.exists()
    assert names_in(folder) == {".lock"}


# --- the folder's life ----------------------------------------------------------------------------
def test_nothing_is_made_before_the_folder_is_claimed() -> None:
    folder = folder_of()
    assert not folder.finished
    folder.check_same()
    assert list(Path().iterdir()) == []
    with folder.claim(), folder.begin():
        assert (folder.path / "config.yaml").is_file()
        assert (folder.path / "identity.json").is_file()
        assert not folder.finished
        write_text(folder.path / "history.jsonl", "")
    assert not folder.finished
    assert folders.is_run(folder.path)


def test_a_run_is_finished_by_its_result_and_the_state_goes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(folder: Path, result: TrainResult) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(results, "write", fail)
        with pytest.raises(OSError, match="Input/output"):
            run()
    folder = folder_of()
    assert not folder.finished
    assert (folder.path / "resume.pt").exists(), "without a result the state is still needed"
    done = run()
    assert folder.finished
    assert done.folder == folder.path
    assert results.read(folder.path) == done.result
    assert done.result.test_accuracy == 0.5
    assert done.result.total_seconds > 0
    assert done.result.date > "2026-01-02T03:04:05+00:00"
    assert names_in(folder.path) == OURS


def test_what_an_interrupted_run_left_stays_for_its_resumption() -> None:
    folder = interrupted()
    (folder / ".resume.pt.77.tmp").write_bytes(b"half a st")

    def going_on(there: Path) -> TrainResult:
        assert (there / "resume.pt").read_text() == "state"
        assert not (there / ".resume.pt.77.tmp").exists()
        return train_result()

    assert run(going_on).folder == folder
    assert not (folder / "resume.pt").exists()


@pytest.mark.parametrize(
    "fault",
    [
        UsageError("no"),
        EnvironmentFailure("no"),
        OSError(28, "No space left"),
        KeyboardInterrupt(),
        SystemExit(1),
    ],
)
def test_a_run_that_is_stopped_before_it_wrote_anything_has_never_begun(
    fault: BaseException,
) -> None:
    def refusing(folder: Path) -> TrainResult:
        assert names_in(folder) == OURS - {".checksums", "metrics.json", "model.safetensors"}
        raise fault

    with pytest.raises(type(fault)):
        run(refusing)
    assert list(Path().iterdir()) == [], "nor are the folders left that were made for it"
    Path("samples/train").mkdir(parents=True)
    with pytest.raises(type(fault)):
        run(refusing)
    assert list(Path("samples").rglob("*")) == [Path("samples/train")], (
        "those that were there before are"
    )
    folder = interrupted()
    with pytest.raises(type(fault)):
        run(lambda there: refuse(fault))
    assert (folder / "resume.pt").exists(), "what an earlier process did is not lost"


def refuse(fault: BaseException) -> TrainResult:
    raise fault


@pytest.mark.parametrize(
    ("changes", "finished"),
    [({"overwrite": True}, True), ({"overwrite": True}, False), ({"resume": False}, False)],
)
def test_starting_over_clears_what_is_ours_the_result_first(
    changes: dict[str, Any], finished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run().folder if finished else interrupted()
    (folder / "resume-0.1.pt").write_bytes(
        b"a state that another version wrote, or that was copied"
    )
    notes = {"notes.txt", "resume.pdf", "mine"}
    (folder / "mine").mkdir()
    (folder / "mine" / "model.safetensors").write_text("not advlab's")
    for name in ("notes.txt", "resume.pdf"):
        (folder / name).write_text("not advlab's")
    removed: list[str] = []
    unlink = Path.unlink

    def counted(self: Path, missing_ok: bool = False) -> None:
        if self.exists() and self.parent.name == folder.name:
            removed.append(self.name)
        unlink(self, missing_ok=missing_ok)

    def looking(there: Path) -> TrainResult:
        left.update(names_in(there))
        return writing(there)

    left: set[str] = set()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", counted)
        run(looking, **changes)
    assert left == {".lock", ".files", "config.yaml", "identity.json"} | notes
    assert removed[0] == ("metrics.json" if finished else "config.yaml"), (
        "a folder half cleared must not look finished"
    )
    assert names_in(folder) == OURS | notes
    assert (folder / "mine" / "model.safetensors").read_text() == "not advlab's"


def test_a_finished_run_is_not_cleared_by_no_resume() -> None:
    folder = run().folder
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    run(refuse_to_work, resume=False)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def refuse_to_work(folder: Path) -> TrainResult:
    raise AssertionError("a finished run is not carried out again")


def test_a_finished_run_prints_its_whole_report_again() -> None:
    first: list[object] = []
    again: list[object] = []
    with collected() as lines:
        done = run(writing_epochs, report=first.append)
    assert first == [done.result]
    files = (
        "config.yaml, epoch_*.png (12 files), identity.json, images-eps0.1.safetensors, "
        "images-eps8e-2.safetensors, metrics.json"
    )
    assert lines == [f"in {done.folder}: {files}"]
    with collected() as lines:
        found = run(refuse_to_work, report=again.append)
    assert found == done
    assert again == first
    assert lines == [
        f"{done.folder} is finished already (--overwrite runs it again)",
        f"in {done.folder}: {files}",
    ]


def writing_epochs(folder: Path) -> TrainResult:
    """Work that leaves a picture of each epoch, and images at two ε."""
    names = [f"epoch_{number}.png" for number in range(1, 13)]
    names += ["images-eps0.1.safetensors", "images-eps8e-2.safetensors"]
    for name in names:
        write_text(folder / name, "")
    return train_result()


def test_state_that_a_kill_left_beside_the_result_is_tidied_away() -> None:
    folder = run().folder
    for name in ("resume.pt", "resume-2.safetensors", "resume.pdf"):
        (folder / name).touch()
    run(refuse_to_work)
    assert names_in(folder) == OURS | {"resume.pdf"}


# --- whose folder it is ---------------------------------------------------------------------------
def test_other_settings_under_one_name_are_refused() -> None:
    folder = run(name="mine", lr=0.25).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    others: dict[str, dict[str, Any]] = {
        "(lr 0.25 there, 0.5 here)": {"lr": 0.5},
        "(seed 0 there, 1 here)": {"seed": 1, "lr": 0.25},
        "(dataset digits there, mnist here)": {"dataset": "mnist", "lr": 0.25},
        "(dropout 0.25 there, 0.5 here)": {"dropout": 0.5, "lr": 0.25},
        "(lr 0.25 there, 0.5 here, seed 0 there, 1 here)": {"lr": 0.5, "seed": 1},
    }
    kept = mlp.Options().dropout
    for words, changes in others.items():
        other = folder_of(name="mine", **changes)
        assert other.path == folder
        said = refusal(other)
        assert "holds another run" in said
        assert words.replace("dropout 0.25", f"dropout {kept}") in said
        assert "another --name, or --overwrite" in said
        with pytest.raises(UsageError, match="holds another run"), other.claim():
            pass
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    folder_of(name="mine", lr=0.5, overwrite=True).check_same()
    # Where and how it is carried out makes no other run.
    same: list[dict[str, Any]] = [
        {"data_dir": "elsewhere"},
        {"resume": False},
        {"out": "./samples"},
    ]
    for changes in same:
        folder_of(name="mine", lr=0.25, **changes).check_same()


@pytest.mark.parametrize("finished", [True, False])
def test_other_contents_are_another_run(finished: bool) -> None:
    _ = run(name="mine") if finished else interrupted(name="mine")
    assert f"(data {12 * 'a'} there, {12 * 'b'} here)" in refusal(
        folder_of({"data": "b" * 64}, name="mine")
    )
    assert f"(network none there, {12 * 'c'} here)" in refusal(
        folder_of({**CONTENTS, "network": "c" * 64}, name="mine")
    )
    assert f"(data {12 * 'a'} there, none here)" in refusal(folder_of({}, name="mine"))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name", ["photo.jpg", "metrics.json", ".hidden", "config.yaml", "resume.pt"]
)
def test_a_folder_that_is_not_advlabs_is_refused_whatever_the_switches(
    name: str, overwrite: bool
) -> None:
    folder = Path("samples/train/mine")
    folder.mkdir(parents=True)
    (folder / name).write_text("somebody's")
    said = refusal(folder_of(name="mine", overwrite=overwrite))
    assert f"holds files that advlab did not write ({name})" in said
    assert "another --name or --out" in said
    with pytest.raises(UsageError, match="did not write"):
        run(refuse_to_work, name="mine", overwrite=overwrite)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: "somebody's"}


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_of_an_earlier_version_is_named_as_that(finished: bool, overwrite: bool) -> None:
    folder = Path("samples/train/mine")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("command: train\nmodel: mlp\n")
    (folder / ("metrics.json" if finished else "resume.pt")).write_text('{"command": "train"}')
    said = refusal(folder_of(name="mine", overwrite=overwrite))
    assert "holds a run of an earlier version of advlab" in said
    assert "give this run another --name, or remove that folder" in said


def test_an_empty_folder_and_what_a_kill_left_of_a_beginning_are_no_obstacle() -> None:
    folder = Path("samples/train/mine")
    folder.mkdir(parents=True)
    folder_of(name="mine").check_same()
    (folder / ".files").write_text("identity.json\n")
    (folder / ".identity.json.3.tmp").write_text("{")
    run(name="mine")
    assert names_in(folder) == OURS


# --- removal --------------------------------------------------------------------------------------
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_is_removed_with_its_folder(finished: bool) -> None:
    folder = run().folder if finished else interrupted()
    assert folders.remove(folder) == []
    assert not folder.exists()
    assert folder.parent.is_dir()


def test_a_removal_leaves_what_is_not_ours() -> None:
    folder = run().folder
    (folder / "notes.txt").write_text("mine")
    assert folders.remove(folder) == ["notes.txt"]
    assert names_in(folder) == {".lock", "notes.txt"}
    with pytest.raises(UsageError, match="holds no run of advlab"):
        folders.remove(folder)


def test_only_runs_are_removed() -> None:
    Path("photos").mkdir()
    Path("photos/metrics.json").write_text("{}")
    for place in ("photos", "nowhere"):
        with pytest.raises(UsageError, match="holds no run of advlab"):
            folders.remove(Path(place))
    assert names_in(Path("photos")) == {"metrics.json"}


@pytest.mark.parametrize("content", [b"lr: [1, 2\n  : {{{", b"", b"\xff\0"])
def test_a_damaged_configuration_in_the_folder_is_written_anew(content: bytes) -> None:
    """It is for people; what a run is made of stands in identity.json."""
    folder = interrupted(name="mine")
    (folder / "config.yaml").write_bytes(content)
    run(name="mine")
    assert (folder / "config.yaml").read_text().startswith("command: train\nmodel: mlp\n")


# --- names ----------------------------------------------------------------------------------------
def test_the_name_says_what_is_not_default() -> None:
    assert automatic_name(config()) == "mlp-digits-seed0"
    assert (
        automatic_name(config(dropout=0.5, seed=3, lr=0.02)) == "mlp-digits-lr0.02-dropout0.5-seed3"
    )
    assert (
        automatic_name(config(out="elsewhere", overwrite=True, data_dir="there"))
        == "mlp-digits-seed0"
    )


def test_different_settings_have_different_names_and_the_same_the_same() -> None:
    values: dict[str, list[Any]] = {
        "lr": [1e-3, 1.0000001e-3, 1, 1.5],
        "seed": [0, 1],
        "dropout": [0, 0.5, 1 / 3],
        "clip_norm": [None, 1, 1.5],
        "dataset": [
            "digits",
            "folder:a/b",
            "folder:a_b",
            "folder:a b",
            "folder:" + "x" * 300 + "1",
            "folder:" + "x" * 300 + "2",
        ],
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


# --- finding --------------------------------------------------------------------------------------
def put(name: str, moment: int, **changes: Any) -> Path:
    folder = Path("samples/train") / name
    folder.mkdir(parents=True)
    results.write(folder, train_result(**changes))
    os.utime(folder / "metrics.json", ns=(moment * 10**9, moment * 10**9))
    return folder


def newest(command: str = "train", **values: Any) -> Path | None:
    def accept(result: TrainResult) -> bool:
        return all(getattr(result, key) == value for key, value in values.items())

    found = results.newest(Path("samples"), command, TrainResult, accept)
    return None if found is None else found.folder


def test_the_newest_finished_run_is_found() -> None:
    assert newest(model="mlp") is None
    a = put("a", 1)
    b = put("b", 2)
    put("c", 3, dataset="mnist")
    d = put("d", 4, model="cnn")
    assert newest(model="mlp", dataset="digits") == b
    assert newest(dataset="digits") == d
    assert newest(model="mlp", dataset="svhn") is None
    assert newest("attack", model="mlp") is None
    assert results.newest(Path("samples"), "train", ScratchCheckResult, lambda _: True) is None
    os.utime(a / "metrics.json", ns=(10**11, 10**11))
    assert newest(model="mlp", dataset="digits") == a


BROKEN: dict[str, bytes] = {
    "cut": b'{"model": "mlp"',
    "empty": b"",
    "binary": b"\xff\xfe\0",
    "list": b"[]",
    "null": b"null",
    "number": b"3",
    "a key too few": json.dumps({"schema_version": 1, "kind": "train", "model": "mlp"}).encode(),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_damaged_result_is_passed_over_and_named(what: str) -> None:
    good = put("good", 1)
    bad = put("bad", 2)
    (bad / "metrics.json").write_bytes(BROKEN[what])
    assert newest(model="mlp") == good
    with pytest.raises(EnvironmentFailure) as caught:
        results.read(bad)
    assert str(caught.value).startswith(f"{bad / 'metrics.json'} is damaged (")
    assert "--overwrite" in str(caught.value)


def test_a_folder_without_a_result_is_passed_over() -> None:
    good = put("good", 1)
    interrupted(name="unfinished")
    Path("samples/train/odd/metrics.json").mkdir(parents=True)
    assert newest(model="mlp") == good
    with pytest.raises(UsageError, match="does not exist: no run was finished there"):
        results.read(Path("samples/train/unfinished"))


def test_a_result_of_a_later_version_is_refused() -> None:
    folder = put("later", 1)
    for key, value in (("kind", "oracle"), ("schema_version", 2), ("kind", ["train"])):
        values = {**json.loads((folder / "metrics.json").read_text()), key: value}
        (folder / "metrics.json").write_text(json.dumps(values))
        with pytest.raises(UsageError, match="this version of advlab \\(schema 1\\) does not know"):
            results.read(folder)


def test_a_result_of_another_kind_is_refused() -> None:
    folder = put("a", 1)
    with pytest.raises(UsageError, match="is not a result of 'scratch-check'"):
        results.read_as(ScratchCheckResult, folder)


# --- one at a time --------------------------------------------------------------------------------
OCCUPANT = (
    "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print('locked', "
    "flush=True)\n    sys.stdin.read()\n"
)


@pytest.fixture
def occupied() -> Iterator[tuple[Path, Callable[[], None]]]:
    """A run's folder that another process, a real one, is at work in; and how to make it stop."""
    folder = interrupted(name="run")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", OCCUPANT, str(folder / ".lock")], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"

        def leave() -> None:
            assert process.stdin is not None
            process.stdin.close()

        yield folder, leave
        process.kill()


@pytest.mark.parametrize("changes", [{}, {"overwrite": True}, {"resume": False}])
def test_a_folder_at_work_is_waited_for_and_left_alone_meanwhile(
    occupied: tuple[Path, Callable[[], None]], changes: dict[str, Any]
) -> None:
    folder, leave = occupied
    (folder / ".resume.pt.1.tmp").write_bytes(b"the other one is writing this")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    lines: list[str] = []
    during: list[dict[str, bytes]] = []

    def leave_soon(line: str) -> None:
        if line.startswith("in "):  # the files of the run, at its end
            return
        lines.append(line)
        threading.Timer(0.5, look_and_leave).start()

    def look_and_leave() -> None:
        during.append({path.name: path.read_bytes() for path in folder.iterdir()})
        leave()

    with on_each_message(leave_soon):
        run(name="run", **changes)
    assert lines == [f"another process of advlab is at work in {folder}; waiting for it"]
    assert during == [before]
    assert names_in(folder) == OURS


def test_a_run_at_work_is_not_removed(occupied: tuple[Path, Callable[[], None]]) -> None:
    folder, _ = occupied
    before = names_in(folder)
    with pytest.raises(EnvironmentFailure, match="in use by another process of advlab"):
        folders.remove(folder)
    assert names_in(folder) == before


def test_a_folder_that_vanishes_while_it_is_waited_for_is_made_again(
    occupied: tuple[Path, Callable[[], None]],
) -> None:
    """The process before removes it, as it does where it was refused before it wrote anything."""
    folder, leave = occupied

    def vanish(line: str) -> None:
        if line.startswith("in "):  # the files of the run, at its end
            return
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        leave()

    with on_each_message(vanish):
        assert run(name="run").folder == folder
    assert names_in(folder) == OURS


def test_a_lock_that_a_dead_process_left_is_no_lock() -> None:
    folder = folder_of()
    folder.path.mkdir(parents=True)
    (folder.path / ".lock").touch()
    with on_each_message(fail_to_wait), folder.claim():
        pass


def fail_to_wait(line: str) -> None:
    raise AssertionError(line)


@pytest.mark.parametrize("leave", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_lock_is_given_back_however_the_run_ends(leave: Callable[[], BaseException]) -> None:
    folder = folder_of()
    folder.path.mkdir(parents=True)
    with pytest.raises(BaseException, match=r".*"), folder.claim():
        raise leave()
    with FileLock(folder.path / ".lock", timeout=0):
        pass


def test_two_runs_of_different_settings_work_side_by_side() -> None:
    with (
        on_each_message(fail_to_wait),
        folder_of(lr=0.1).claim(),
        folder_of(lr=0.2).claim(),
    ):
        assert len(list(Path("samples/train").iterdir())) == 2


# --- through the front door -----------------------------------------------------------------------
def test_a_finished_run_is_not_touched_by_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Not even where its checkpoint is gone: what is finished is finished, and is read from its
    result alone."""
    line = "train mlp --width 8 --dataset digits --train-size 20 --epochs 1 --precision fp32"
    assert type_in(line) == 0
    (folder,) = Path("samples/train").iterdir()
    (folder / "model.safetensors").unlink()
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    first = capsys.readouterr().out.splitlines()
    assert type_in(line) == 0
    again = capsys.readouterr().out.splitlines()
    table = next(number for number, text in enumerate(first) if text.startswith("|"))
    assert again == [
        first[0],
        f"{folder} is finished already (--overwrite runs it again)",
        *first[table:-1],
        first[-1].replace(", model.safetensors", ""),
    ]
    assert len(first[table:]) > 5, "the whole report"
    assert type_in(f"{line} --no-resume") == 0, "--no-resume is about interrupted runs"
    assert {
        path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()
    } == before


def test_the_result_is_the_last_file_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    replace = Path.replace

    def replacing(self: Path, target: Path) -> Path:
        written.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replacing)
    assert (
        type_in("train mlp --width 8 --dataset digits --train-size 20 --epochs 2 --precision fp32")
        == 0
    )
    assert written[:2] == ["identity.json", "config.yaml"]
    assert written[-1] == "metrics.json"
    assert written.count("metrics.json") == 1
    assert {
        "model.safetensors",
        "resume.pt",
        "history.jsonl",
        "curves.png",
        "confusion.png",
        "mistakes.png",
    } <= set(written)


def times(folder: Path) -> dict[str, int]:
    """When each file was last written; taking the lock may touch that of the lock."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != ".lock"}


def test_a_run_that_another_process_finishes_meanwhile_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two terminals, one line: the second looks, sees no result yet, and by the time it has the
    lock there is one."""
    line = (
        "train mlp --width 8 --dataset digits --train-size 20 --epochs 1 --precision fp32 --name "
        "run"
    )
    claim = RunFolder.claim
    others: list[Any] = []

    def claiming(self: RunFolder) -> Any:
        if not others:
            others.append("the other terminal's run, from its start to its end")
            assert type_in(line) == 0
            others.append(times(self.path))
        return claim(self)

    monkeypatch.setattr(RunFolder, "claim", claiming)
    assert type_in(line) == 0
    folder = Path("samples/train/run")
    assert times(folder) == others[1]
    assert "finished already" in capsys.readouterr().out


# --- checksums ------------------------------------------------------------------------------------
def test_checksums_are_those_that_sha256sum_checks() -> None:
    folder = run(name="one").folder
    lines = (folder / ".checksums").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        "config.yaml",
        "identity.json",
        "metrics.json",
        "model.safetensors",
    ]
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", ["metrics.json", "model.safetensors"])
def test_a_file_of_another_run_is_not_shown_as_this_ones(name: str) -> None:
    one = run(name="one").folder
    other = run(
        lambda folder: writing(folder).model_copy(update={"test_accuracy": 0.9}), name="other"
    ).folder
    (one / "model.safetensors").write_bytes(b"other weights")
    (other / name).write_bytes((one / name).read_bytes())
    with pytest.raises(EnvironmentFailure) as refused:
        run(name="other")
    assert str(refused.value) == (
        f"{other / name} is not the file that this run wrote: its sha256 is another one than in "
        ".checksums; --overwrite runs it again"
    )
    assert run(name="other", overwrite=True).result.test_accuracy == 0.5


def test_a_figure_that_was_edited_is_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(name="one").folder
    text = (folder / "metrics.json").read_text()
    (folder / "metrics.json").write_text(text.replace('"test_accuracy": 0.5', '"test_accuracy": 1'))
    assert main(["list"]) == 0
    assert "is not the file that this run wrote" in capsys.readouterr().out


@pytest.mark.parametrize("foreign", [False, True])
def test_a_configuration_of_another_run_is_pointed_out(
    foreign: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(name="one").folder
    assert main(["list"]) == main(["report"]) == 0
    page, remark = Path("samples/index.html"), "config.yaml is not the file that this run wrote"
    assert main(["list"]) == main(["report"]) == 0
    assert remark not in capsys.readouterr().out + page.read_text()
    assert "advlab train mlp" in page.read_text()
    assert "--name one" in page.read_text()
    other = run(name="other", width=16).folder if foreign else folder
    (folder / "config.yaml").write_text((other / "config.yaml").read_text() + "epochs: 3\n")
    assert main(["list", "--command", "train"]) == main(["report"]) == 0
    assert f"; {remark}" in capsys.readouterr().out
    assert f"{remark}, so no line is made from it" in page.read_text()
    assert page.read_text().count("advlab train mlp") == foreign
    assert "--name one" not in page.read_text()
    assert main(["list", "--command", "train", "--format", "json"]) == 0
    told = {one["run"]: one.get("remark", "") for one in json.loads(capsys.readouterr().out)}
    assert told["samples/train/one"] == remark
    assert list(told.values()) == [remark, ""][: len(told)]
    # The figures are still those of the run, which is repeated from its line and not from the file.
    with collected() as lines:
        assert run(refuse_to_work, name="one").folder == folder
    assert f"note: {remark}; no line is made from it" in lines


@pytest.mark.parametrize("target", ["metrics.json", "nowhere.json"])
def test_a_result_that_is_a_link_to_nothing_is_listed(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run(name="one").folder / "metrics.json"
    file.unlink()
    file.symlink_to(target)
    assert main(["list", "--command", "train"]) == main(["report"]) == 0
    printed = capsys.readouterr().out
    assert "is a link that leads to no file" in printed
    assert "1 run in samples/index.html" in printed
    assert (
        "train/one</a>: is a link that leads to no file" in Path("samples/index.html").read_text()
    )


def test_a_run_without_checksums_and_one_whose_weights_were_removed_are_finished() -> None:
    folder = run(name="one").folder
    (folder / "model.safetensors").unlink()
    assert run(refuse_to_work, name="one").folder == folder
    (folder / ".checksums").unlink()
    assert run(refuse_to_work, name="one").folder == folder
