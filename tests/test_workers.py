"""Several processes for one grid: however the first of them ends, none is left behind, and nothing
is torn."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

LINE = (
    "train mlp --dataset digits --train-size 40 --batch-size 20 --epochs 100000 --lr 1e-3 2e-3 "
    "--workers 2"
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
            while len(list(tmp_path.glob("train/*/resume.pt"))) < 2:
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
    for folder in tmp_path.glob("train/*"):
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
    assert said.splitlines() == [
        "advlab: stopped; the same line typed again goes on where this one was"
    ]
    for folder in tmp_path.glob("train/*"):
        with FileLock(folder / ".lock", timeout=20):
            assert (folder / "resume.pt").is_file()
