"""Several processes for one grid: however one of them ends, none is left behind, nothing is torn,
and no other cell is lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from joblib.externals.loky.backend.queues import Queue
from made_results import train_result

from advlab.config.resolve import Config, resolve
from advlab.experiments import workers
from advlab.experiments.cell_queue import CellQueue
from advlab.experiments.workers import CellOutcome, LocalTeam, WorkerKilled, side_by_side
from advlab.results.train import TrainResult
from advlab.runs.results import Finished

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

# Of the network in NumPy, whose workers need not import torch's optimisers.
LINE = (
    "scratch --hidden 8 --dataset digits --train-size 40 --batch-size 20 --epochs 100000 "
    "--lr 1e-3 2e-3 --workers 2"
)


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A grid whose two cells are both at work, in a process group of its own."""
    words = [sys.executable, "-m", "advlab", *LINE.split(), "--out", str(tmp_path)]
    with subprocess.Popen(
        words, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 90
            while len(list(tmp_path.glob("scratch/*/resume.safetensors"))) < 2:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "the cells have not begun"
                time.sleep(0.1)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_workers_end_with_the_process_that_started_them(
    grid: subprocess.Popen[str], tmp_path: Path
) -> None:
    os.kill(grid.pid, signal.SIGKILL)
    grid.wait()
    for folder in tmp_path.glob("scratch/*"):
        with FileLock(folder / ".lock", timeout=20):  # a worker that lived on would hold it
            assert not (folder / "metrics.json").exists()


@pytest.mark.parametrize("times", [1, 5])
def test_ctrl_c_ends_them_all_in_one_line(
    grid: subprocess.Popen[str], tmp_path: Path, times: int
) -> None:
    for _ in range(times):
        if grid.poll() is None:
            os.killpg(grid.pid, signal.SIGINT)
        time.sleep(0.1)
    _, said = grid.communicate(timeout=60)
    assert grid.returncode == 130
    start, *ends = said.splitlines()
    assert re.fullmatch(r"starting \d processes for \d runs", start)
    assert ends == ["advlab: stopped; the same line typed again goes on where this one was"]
    for folder in tmp_path.glob("scratch/*"):
        with FileLock(folder / ".lock", timeout=20):
            assert (folder / "resume.safetensors").is_file()


@pytest.mark.parametrize("end", [LocalTeam.close, LocalTeam.stop])
def test_no_thread_that_filled_a_queue_outlives_its_team(
    end: Callable[[LocalTeam], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter would stop it at any point, and loky then warns of leaked semaphores. Here
    they are slow to end, as on a busy machine."""
    feed = Queue._feed

    def slow_to_end(*arguments: Any) -> None:
        feed(*arguments)
        time.sleep(0.3)

    monkeypatch.setattr(Queue, "_feed", staticmethod(slow_to_end))
    # A worker that sleeps needs no torch, which takes seconds to import.
    monkeypatch.setattr(workers, "_begin", lambda *_: None)
    team = LocalTeam(1, 1)
    before = set(threading.enumerate())
    team.submit(time.sleep, 0).result(timeout=60)
    end(team)
    assert not set(threading.enumerate()) - before


# --- killed workers -------------------------------------------------------------------------------
def cells(number: int) -> tuple[Config, ...]:
    return resolve("train", ["mlp"], {"dataset": "digits", "seeds": number}, None).cells


def test_a_cell_whose_worker_is_killed_is_tried_again(tmp_path: Path) -> None:
    """The cell of seed 0 kills its process the first time; the others are carried out once."""

    # Handed to the workers by value, so that they need not be able to import this file.
    def run(config: Config) -> Finished[TrainResult]:
        import os
        import signal

        from made_results import train_result

        from advlab.logs import logger

        with (tmp_path / f"begun{config.options.seed}").open("a") as file:
            file.write(f"{os.getpid()}\n")
        if config.options.seed == 0 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        logger.info("done")
        return Finished(train_result(seed=config.options.seed), tmp_path)

    outcomes = list(side_by_side(run, cells(3), LocalTeam(1, 3)))
    again = [place for place, outcome in outcomes if outcome.again]
    assert again == [0]
    done = {place: outcome for place, outcome in outcomes if not outcome.again}
    assert [done[place].lines for place in range(3)] == [["done"]] * 3
    seeds = {
        place: outcome.finished.result.seed for place, outcome in done.items() if outcome.finished
    }
    assert seeds == {0: 0, 1: 1, 2: 2}
    begun = [(tmp_path / f"begun{seed}").read_text().split() for seed in range(3)]
    assert [len(pids) for pids in begun] == [2, 1, 1]
    assert begun[0][0] not in begun[1], "a process of its own took the place of the killed one"


class TeamOfOne:
    """Carries out a call at once, in this process; calls numbered in ``deaths`` kill their
    worker."""

    def __init__(self, deaths: Sequence[int] = (), final: bool = False) -> None:
        self.calls, self.ended = 0, ""
        self.deaths, self.final = deaths, final

    def capacity(self) -> int:
        return 3

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.calls in self.deaths:
            future.set_exception(WorkerKilled(self.final))
        else:
            future.set_result(call(*arguments))
        self.calls += 1
        return future

    def close(self) -> None:
        self.ended = "closed"

    def stop(self) -> None:
        self.ended = "stopped"


@pytest.fixture
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker does to its own process is not done to that of the tests."""
    monkeypatch.setattr(workers, "silence", lambda: None)


def quick(config: Config) -> Finished[TrainResult]:
    return Finished(train_result(seed=config.options.seed), Path())


@pytest.mark.parametrize(("deaths", "finished"), [(2, True), (3, False)])
@pytest.mark.usefixtures("loud")
def test_a_cell_that_kills_every_worker_does_not_stop_the_others(
    deaths: int, finished: bool
) -> None:
    """With one cell alone, every call is one of its attempts: three at most."""
    team = TeamOfOne(range(deaths))
    *again, (place, last) = side_by_side(quick, cells(2)[:1], team)
    assert [outcome.again for _, outcome in again] == [
        "its worker was killed; it is tried again"
    ] * 2
    assert (place, last.finished is not None) == (0, finished)
    assert ("killed every time" in last.refusal) != finished
    assert team.calls == 3
    # Of three cells, the first has a worker killed that will not be tried again.
    several = dict(side_by_side(quick, cells(3), TeamOfOne([0], final=True)))
    assert [several[number].finished is not None for number in range(3)] == [False, True, True]


def test_no_more_cells_are_handed_out_than_can_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid of 1,000 cells holds no thousand futures: each is submitted when one has ended."""
    finished = Finished(train_result(), Path())
    monkeypatch.setattr(workers, "carried_out", lambda *_: CellOutcome((), finished))
    team, seen = TeamOfOne(), 0
    for _ in side_by_side(quick, cells(1) * 1000, team):
        seen += 1
        assert team.calls <= seen + team.capacity()
    assert seen == team.calls == 1000
    assert team.ended == "closed"


@pytest.mark.usefixtures("loud")
def test_leaving_early_stops_the_team() -> None:
    team = TeamOfOne()
    outcomes = side_by_side(quick, cells(5), team)
    next(outcomes)
    outcomes.close()
    assert team.ended == "stopped"


# --- shared work ----------------------------------------------------------------------------------
def test_a_held_cell_goes_to_the_end_of_the_queue(tmp_path: Path) -> None:
    queue = CellQueue(3)
    assert queue.take() == 0
    lock = FileLock(tmp_path / ".lock")
    with lock:
        queue.put_back(0, tmp_path)
        assert [queue.take(), queue.take()] == [1, 2]
        assert queue.take() is None
        assert len(queue) == 1
    assert queue.take() == 0
    assert len(queue) == 0


# Two processes that begin at the same moment; a run takes half a second and says who did it. They
# are forked from one that has imported everything.
SHARING = """
import os, sys, time
from pathlib import Path
from advlab.cli.main import main
from advlab.experiments.train import run as experiment
from advlab.results.train import TrainResult
from advlab.runs.lifecycle import Experiment, carry_out
from made_results import train_result
from painting import paint_blank

paint_blank()

def child(name):
    def run(config):
        def measure(folder):
            with Path(f"{name}.did").open("a") as file:
                file.write(f"{config.options.seed}\\n")
            time.sleep(.5)
            return train_result(
                seed=config.options.seed, test_accuracy=.5 + .1 * config.options.seed
            )
        return carry_out(Experiment(config, {}, TrainResult, measure, lambda *_: None))

    experiment.run = run
    for descriptor, ending in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.{ending}", os.O_WRONLY | os.O_CREAT), descriptor)
    Path(f"{name}.ready").touch()
    deadline = time.monotonic() + 60
    while len(list(Path().glob("*.ready"))) < 2 and time.monotonic() < deadline:
        time.sleep(.01)
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)

children = []
for name in ("one", "two"):
    children.append(os.fork())
    if not children[-1]:
        try:
            child(name)
        finally:
            os._exit(99)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


def test_two_processes_share_a_grid(tmp_path: Path) -> None:
    line = ["train", "mlp", "--dataset", "digits", "--seeds", "4"]
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
    both = subprocess.run(
        [sys.executable, "-c", SHARING, *line],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = [(tmp_path / f"{name}.out").read_text() for name in ("one", "two")]
    errors = [(tmp_path / f"{name}.err").read_text() for name in ("one", "two")]
    assert both.returncode == 0, (both.stderr, said, errors)
    one, two = ((tmp_path / f"{name}.did").read_text().split() for name in ("one", "two"))
    assert sorted(one + two) == ["0", "1", "2", "3"], "each cell is carried out once"
    assert one
    assert two
    tables = [[row for row in text.splitlines() if row.startswith("|")] for text in said]
    assert tables[0] == tables[1]
    assert tables[0][-1].split("|")[2].strip() == "4"
    lines = [line for text in said for line in text.splitlines()]
    assert any("it is looked at again after the others" in line for line in lines)
    waited = [line for line in lines if line.endswith("waiting for it")]
    assert all("compare" in line for line in waited), "no cell is waited for"
