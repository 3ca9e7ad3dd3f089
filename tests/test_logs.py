"""What is logged: who sees it, and what it looks like."""

from __future__ import annotations

import logging
import subprocess
import sys
from threading import Thread

import pytest

from advlab.logs import collected, headed, indented, logger, printed, silenced


def test_a_program_that_does_not_ask_sees_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    logger.info("nobody asked")
    assert capfd.readouterr() == ("", "")


def test_a_program_that_asks_sees_it_as_of_any_library() -> None:
    script = (
        "import logging; logging.basicConfig(level=logging.INFO, format='%(name)s: %(message)s')\n"
        "from advlab.logs import logger; logger.info('100 % done')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "advlab: 100 % done\n")


def test_it_is_printed_once_however_often_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    level = logger.level
    with printed(), printed():
        logger.info("once")
    logger.info("no more")
    assert capsys.readouterr() == ("once\n", "")
    assert (logger.level, logger.propagate) == (level, True)


def test_a_reader_that_went_away_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other handlers print a traceback and go on."""

    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    with printed(), pytest.raises(BrokenPipeError):
        logger.info("to nobody")


def test_heads_and_indents(capsys: pytest.CaptureFixture[str]) -> None:
    with printed(), headed("[1/2] "):
        with indented(), indented():
            logger.info("a\n\nb")
        logger.info("c")
    assert capsys.readouterr().out == "    [1/2] a\n\n    b\nc\n"


def test_what_is_collected_goes_nowhere_else(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with printed(), collected() as lines:
        with indented():
            logger.info("one")
        with silenced():
            logger.info("two")
    assert lines == ["  one"]
    assert (capsys.readouterr().out, caplog.messages) == ("", [])


def test_threads_do_not_hear_of_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with printed(), silenced(), headed("head "), indented():
        other = Thread(target=logger.info, args=("from another thread",))
        other.start()
        other.join()
    assert capsys.readouterr().out == "from another thread\n"
