"""Runs that are stopped, by signals that are really sent, at every kind of moment: they go on to
the bits of an unbroken one."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from killing import Launcher, nth, state

from advlab.cli.main import main

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="a descriptor's file name is asked of /proc"
)

RUN = (
    "train mlp --width 8 --dropout 0.3 --dataset digits --train-size 60 --batch-size 20 --epochs "
    "3 --optimizer adamw "
    "--average-decay 0.9 --precision fp32 --device cpu --threads 1 --name run"
)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    yield made
    made.close()


@dataclass(frozen=True)
class Whole:
    """An unbroken run: its folder and everything it did."""

    folder: Path
    events: Sequence[str]


@pytest.fixture(scope="module")
def whole(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    place = tmp_path_factory.mktemp("whole")
    ended = launcher.run(place, RUN)
    assert ended.status == 0, ended.err
    return Whole(place / "samples/train/run", ended.events)


def comparison(folder: Path) -> dict[str, Any]:
    """The same of a comparison, whose table has a column of seconds."""
    found = state(folder)
    found["table.md"] = [
        row.split("|")[1:-2] for row in (folder / "table.md").read_text().splitlines()
    ]
    return found


def test_the_events_are_what_is_thought(whole: Whole) -> None:
    """Else the tests below would kill a run at other moments than they say."""
    assert whole.events.count("step") == 9
    assert whole.events.count("after resume.pt") == 3
    assert whole.events[-2:] == ["after metrics.json", "drop resume.pt"]
    pictures = {"curves.png", "confusion.png", "mistakes.png"}
    records = {f".{name.removesuffix('.png')}.figure" for name in pictures}
    written = {"config.yaml", "history.jsonl", "model.safetensors", "metrics.json"}
    assert (
        set(state(whole.folder))
        == pictures
        | written
        | {
            ".lock",
            ".files",
            ".checksums",
            "identity.json",
            "model.safetensors, tensors",
        }
        | records
    )
    assert set((whole.folder / ".files").read_text().splitlines()) == pictures | written | {
        *records,
        "identity.json",
        "resume.pt",
    }


KILLED = [
    ("step", 2),
    ("half of model.safetensors", 1),
    ("half of resume.pt", 1),
    ("after resume.pt", 2),
    ("half of history.jsonl", 3),
    ("before curves.png", 1),
    ("half of metrics.json", 1),
]


@pytest.mark.parametrize(("what", "number"), KILLED)
def test_a_killed_run_goes_on_to_the_same_bits(
    what: str, number: int, launcher: Launcher, whole: Whole, tmp_path: Path
) -> None:
    killed = launcher.run(tmp_path, RUN, kill=nth(whole.events, what, number))
    assert killed.status == -signal.SIGKILL
    folder = tmp_path / "samples/train/run"
    assert not (folder / "metrics.json").exists(), "it does not look finished"
    assert killed.err == ""
    resumed = launcher.run(tmp_path, RUN)
    assert resumed.status == 0, resumed.err
    # What was done before is not done again.
    epochs = whole.events[: nth(whole.events, what, number)].count("after resume.pt")
    assert resumed.events.count("step") == 9 - 3 * epochs
    assert state(folder) == state(whole.folder)


def test_a_run_killed_again_and_again_ends_in_the_same_bits(
    launcher: Launcher, whole: Whole, tmp_path: Path
) -> None:
    """Each time it gets a few events further than the time before."""
    statuses = []
    for attempt in range(30):
        ended = launcher.run(tmp_path, RUN, kill=3 + 9 * attempt)
        statuses.append(ended.status)
        if ended.status == 0:
            break
    assert statuses[-1] == 0
    assert len(statuses) > 4
    assert set(statuses[:-1]) == {-signal.SIGKILL}
    assert state(tmp_path / "samples/train/run") == state(whole.folder)


@pytest.mark.parametrize(
    ("what", "place", "number"),
    [
        ("step", 5, signal.SIGINT),
        ("step", 5, signal.SIGTERM),
        ("half of resume.pt", 2, signal.SIGINT),
        ("half of metrics.json", 1, signal.SIGTERM),
    ],
)
def test_a_run_that_is_asked_to_stop_says_so_and_goes_on(
    what: str, place: int, number: signal.Signals, launcher: Launcher, whole: Whole, tmp_path: Path
) -> None:
    status, word = (130, "stopped") if number == signal.SIGINT else (143, "terminated")
    ended = launcher.run(tmp_path, RUN, kill=nth(whole.events, what, place), number=number)
    assert ended.status == status
    assert ended.err == f"advlab: {word}; the same line typed again goes on where this one was\n"
    folder = tmp_path / "samples/train/run"
    assert not list(folder.glob(".*.tmp")), "what it could tidy up it did"
    assert not (folder / "metrics.json").exists()
    for file in ("history.jsonl", "config.yaml"):
        assert (folder / file).is_file()
    assert launcher.run(tmp_path, RUN).status == 0
    assert state(folder) == state(whole.folder)


def test_the_lines_own_switches_decide_whether_it_goes_on(
    launcher: Launcher, whole: Whole, tmp_path: Path
) -> None:
    place = nth(whole.events, "step", 8)
    assert launcher.run(tmp_path, RUN, kill=place).status == -signal.SIGKILL
    # Starting over clears the folder first, which is a number of events of its own.
    rehearsed = launcher.run(
        Path(shutil.copytree(tmp_path, tmp_path.with_name("rehearsal"))), f"{RUN} --no-resume"
    )
    assert rehearsed.events.count("step") == 9
    fresh = launcher.run(tmp_path, f"{RUN} --no-resume", kill=nth(rehearsed.events, "step", 8))
    assert fresh.status == -signal.SIGKILL
    explicit = launcher.run(tmp_path, f"{RUN} --resume")
    assert explicit.status == 0
    assert explicit.events.count("step") == 3
    again = launcher.run(tmp_path, f"{RUN} --overwrite")
    assert again.events.count("step") == 9
    # The configuration says which switches the last of the lines had; all else is the same.
    there, here = state(tmp_path / "samples/train/run"), state(whole.folder)
    assert {key: value for key, value in there.items() if key != "config.yaml"} == {
        key: value for key, value in here.items() if key != "config.yaml"
    }


def test_a_stopped_run_is_not_mistaken_for_one_of_other_settings(
    launcher: Launcher, whole: Whole, tmp_path: Path
) -> None:
    assert launcher.run(tmp_path, RUN, kill=nth(whole.events, "step", 5)).status == -signal.SIGKILL
    other = launcher.run(tmp_path, RUN.replace("--width 8", "--width 9"))
    assert other.status == 2
    assert "holds another run (width 8 there, 9 here)" in other.err
    assert launcher.run(tmp_path, RUN).status == 0
    assert state(tmp_path / "samples/train/run") == state(whole.folder)


def test_a_run_killed_after_its_result_is_finished(
    launcher: Launcher, whole: Whole, tmp_path: Path
) -> None:
    assert (
        launcher.run(tmp_path, RUN, kill=nth(whole.events, "after metrics.json", 1)).status
        == -signal.SIGKILL
    )
    folder = tmp_path / "samples/train/run"
    before = {
        path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "resume.pt"
    }
    again = launcher.run(tmp_path, RUN)
    assert again.status == 0
    assert "finished already" in (tmp_path / "out").read_text()
    assert {
        path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "resume.pt"
    } == before


def test_a_run_killed_after_its_result_leaves_no_state_behind(
    launcher: Launcher, whole: Whole, tmp_path: Path
) -> None:
    assert (
        launcher.run(tmp_path, RUN, kill=nth(whole.events, "after metrics.json", 1)).status
        == -signal.SIGKILL
    )
    assert launcher.run(tmp_path, RUN).status == 0
    assert state(tmp_path / "samples/train/run") == state(whole.folder)


def test_a_grid_that_is_killed_goes_on_with_its_unfinished_cells(
    launcher: Launcher, whole: Whole, tmp_path: Path
) -> None:
    line = RUN.replace("--name run", "--seeds 2").replace("--epochs 3", "--epochs 2")
    place = tmp_path / "whole"
    place.mkdir()
    unbroken = launcher.run(place, line)
    assert unbroken.status == 0
    # In the second epoch of the second cell.
    stopped = launcher.run(
        tmp_path, line, kill=nth(unbroken.events, "step", 6 + 5), number=signal.SIGINT
    )
    assert stopped.status == 130
    assert not (tmp_path / "samples/compare").exists()
    finished = {
        file: file.stat().st_mtime_ns for file in tmp_path.glob("samples/train/*/metrics.json")
    }
    assert len(finished) == 1
    resumed = launcher.run(tmp_path, line)
    assert resumed.status == 0
    assert resumed.events.count("step") == 3
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    for folder in (place / "samples/train").iterdir():
        assert state(tmp_path / "samples/train" / folder.name) == state(folder)
    (unbroken_one,), (resumed_one,) = (
        list(top.glob("samples/compare/*")) for top in (place, tmp_path)
    )
    # Of its table, what the clock says is the last column.
    there, here = (comparison(folder) for folder in (unbroken_one, resumed_one))
    assert there["table.md"]
    assert there == here


# --- other commands, killed anywhere --------------------------------------------------------------
# Lines that are quick, each with a settled name.
COMMANDS = {
    "memorize": (
        "memorize mlp --width 8 --dataset digits --train-size 20 --epochs 2 --precision fp32 "
        "--threads 1 --seeds 1 --name run"
    ),
    "scratch": "scratch --hidden 8 --dataset digits --train-size 60 --epochs 3 --name run",
    "scratch check": "scratch check --hidden 4 --entries 4 --name run",
    "evaluate": (
        "evaluate quick --checkpoint ../train/v --attacks noise FGSM PGD --steps 3 --eps 0.05 "
        "0.1 --limit 20 "
        "--precision fp32 --threads 1 --name run"
    ),
}
VICTIM = (
    "train mlp --width 8 --dataset digits --train-size 60 --epochs 2 --precision fp32 --threads "
    "1 --out .. --name v"
)


@pytest.mark.parametrize("what", COMMANDS)
def test_a_run_that_is_killed_at_any_point_ends_in_the_same_bits(
    what: str, launcher: Launcher, tmp_path: Path
) -> None:
    """Once at each kind of moment: half-way through a file, before and after it gets its name."""
    line = COMMANDS[what]
    place = tmp_path / "whole"
    place.mkdir()
    if "../train/v" in line:
        assert launcher.run(place, VICTIM).status == 0
    unbroken = launcher.run(place, line)
    assert unbroken.status == 0, unbroken.err
    folder = Path("samples") / what.split()[0] / "run"
    whole = state(place / folder)
    assert {"before metrics.json", "after identity.json", "half of config.yaml"} <= set(
        unbroken.events
    )
    kinds = [
        event
        for event in dict.fromkeys(unbroken.events)
        if not event.startswith(("half of", "drop"))
    ]
    for number, event in enumerate([*kinds, "half of metrics.json", "half of identity.json"]):
        here = tmp_path / str(number)
        here.mkdir()
        last = unbroken.events.count(event)
        killed = launcher.run(here, line, kill=nth(unbroken.events, event, last))
        assert killed.status == -signal.SIGKILL, event
        assert (here / folder / "metrics.json").exists() == (event == "after metrics.json")
        resumed = launcher.run(here, line)
        assert resumed.status == 0, (event, resumed.err)
        assert state(here / folder) == whole, event


def test_a_training_from_scratch_goes_on_with_what_was_done(
    launcher: Launcher, tmp_path: Path
) -> None:
    line = COMMANDS["scratch"]
    (tmp_path / "whole").mkdir()
    unbroken = launcher.run(tmp_path / "whole", line)
    assert unbroken.events.count("after resume.safetensors") == 3
    killed = launcher.run(tmp_path, line, kill=nth(unbroken.events, "after resume.safetensors", 2))
    assert killed.status == -signal.SIGKILL
    resumed = launcher.run(tmp_path, line)
    assert resumed.events.count("after resume.safetensors") == 1
    assert "going on after epoch 2 of 3" in (tmp_path / "out").read_text()
    assert state(tmp_path / "samples/scratch/run") == state(tmp_path / "whole/samples/scratch/run")


def test_a_demonstration_that_is_killed_goes_on_to_the_same_page(
    launcher: Launcher, tmp_path: Path
) -> None:
    """Its runs are those of other commands; what is its own is their order, and the page."""

    def page(place: Path) -> str:
        return re.sub(
            r"\d+ seconds", "", (place / "samples/demo/index.html").read_text(encoding="utf-8")
        )

    def runs(place: Path) -> dict[str, object]:
        return {
            str(file.parent.relative_to(place)): state(file.parent)
            for file in sorted(place.rglob("metrics.json"))
        }

    line = "demo --precision fp32 --threads 1"
    (tmp_path / "whole").mkdir()
    unbroken = launcher.run(tmp_path / "whole", line)
    assert unbroken.status == 0, unbroken.err
    whole = runs(tmp_path / "whole")
    assert len(whole) == 4
    here = tmp_path / "killed"
    here.mkdir()
    killed = launcher.run(here, line, kill=nth(unbroken.events, "half of metrics.json", 3))
    assert killed.status == -signal.SIGKILL
    assert not (here / "samples/demo/index.html").exists()

    def goes_on(unfinished: int) -> list[str]:
        resumed = launcher.run(here, line)
        assert resumed.status == 0, resumed.err
        assert runs(here) == whole
        assert page(here) == page(tmp_path / "whole")
        assert resumed.events.count("after metrics.json") == unfinished
        return list(resumed.events)

    goes_on(2)
    event = nth(goes_on(0), "half of index.html", 1)
    (here / "samples/demo/index.html").unlink()
    assert launcher.run(here, line, kill=event).status == -signal.SIGKILL
    assert not (here / "samples/demo/index.html").exists()
    goes_on(0)


# --- the disk -------------------------------------------------------------------------------------
def test_a_folder_under_a_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody may write there, not even root, whom no permission stops."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    assert main([*RUN.split(), "--out", "file/deeper"]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "file/deeper" in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert Path("file").read_text() == "in the way"
