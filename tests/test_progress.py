"""What long work shows of itself: on a terminal a bar, elsewhere a line now and then."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from itertools import count

import pytest

from advlab import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by three seconds whenever somebody looks at it."""
    ticks: Iterator[int] = count(0, 3)
    monkeypatch.setattr("advlab.progress.time.monotonic", lambda: float(next(ticks)))


@pytest.mark.usefixtures("clock")
def test_off_a_terminal_there_is_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(progress.with_progress(range(9), "reading", "rows")) == list(range(9))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["reading: 4 of 9 rows, 12 s", "reading: 8 of 9 rows, 24 s"]


@pytest.mark.usefixtures("clock")
def test_a_line_says_what_was_done_before_and_the_newest_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.progress_bar(None, "a", "steps", done=100) as bar:
        bar.set_postfix({"loss": "0.5"}, refresh=False)
        bar.set_description("b")
        for _ in range(3):
            bar.update(10)
    assert capsys.readouterr().err == "b: 130 steps, loss 0.5, 12 s\n"


@pytest.mark.usefixtures("clock")
def test_work_on_one_batch_gives_signs_of_life(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_last_sign", -10.0)
    progress.sign_of_life()
    with progress.progress_bar(1, "attacks"), progress.progress_bar(20, "bb", "images") as bar:
        for _ in range(4):
            progress.sign_of_life()
        bar.update(20)
    progress.sign_of_life()
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("bb: 0 of 20 images, ") for line in lines[:1])
    assert len(lines) <= 3


def test_quick_work_off_a_terminal_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.with_progress(range(9), "reading")) == list(range(9))
    assert capsys.readouterr() == ("", "")


def test_epochs_leave_a_line_each_and_the_shorter_ones_one_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("advlab.progress.time.monotonic", lambda: now)
    notes = progress.EpochNotes(10)
    for epoch, seconds in ((1, 2.0), (2, 0.4), (3, 0.4), (4, 0.4), (5, 5.0)):
        now += seconds
        notes(epoch, {"loss": f"{1 / epoch:.2f}", "time": "1 s"})
    assert capsys.readouterr().err.splitlines() == [
        f"epoch  {n}/10: loss {1 / n:.2f}, time 1 s" for n in (1, 4, 5)
    ]


def test_a_process_among_others_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_silent", False)
    progress.silence()
    with progress.progress_bar(3, "a") as bar:
        bar.update()
    progress.note("something")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_is_drawn_within_80_columns_and_wiped() -> None:
    """A real terminal of 200 columns."""
    code = (
        "import time; from advlab.progress import *; [time.sleep(0.1) for _ in "
        "with_progress(range(8), 'reading', 'rows')]; note('kept')"
    )
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
        subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, timeout=60)
        seen = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    drawn = [
        part for part in io.StringIO(seen, newline="\r").read().split("\r") if "reading" in part
    ]
    assert drawn
    assert "rows" in drawn[-1]
    assert all(len(part) <= 80 for part in drawn)
    assert seen.rstrip().endswith("kept")
