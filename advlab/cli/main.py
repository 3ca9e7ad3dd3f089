"""The command ``advlab``: from the words of the command line to one experiment.

An error is one line on stderr, and the exit status says of which kind it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from advlab import __version__
from advlab.cli.terminal import use_any_encoding
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.logs import printed

# How long one of several processes leaves it to the first one to say what was wrong, in seconds.
_FIRST_SPEAKS = 10.0
_EXIT_INTERRUPTED, _EXIT_PIPE = 130, 141
# How other libraries refuse the value of a variable of the environment, by its name.
_REFUSED_VARIABLES = {"TORCH_LOGS": "Invalid log settings"}


class _Terminated(BaseException):
    """A signal that ends the process, as an exception, so that files are closed and locks given
    back.

    Attributes:
        status: the exit status of a process that the signal ended.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0, 2 for a usage error, 1 for an environment error, 130 for Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    use_any_encoding()
    if argv is None:  # figures go to files, whatever window system a notebook would use
        os.environ["MPLBACKEND"] = "agg"
    try:
        with _termination_as_exception(), _first_speaks(), printed():
            status = _dispatch(words)
            if sys.stdout is not None:
                sys.stdout.flush()
            return status
    except BrokenPipeError:  # whoever read our output went away
        _drop_output()
        return _EXIT_PIPE
    except KeyboardInterrupt:
        if (
            argv is None
        ):  # the process ends now, and further Ctrl-Cs would only tear up its last words
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return _refuse(_how_to_go_on("stopped", words), _EXIT_INTERRUPTED)
    except _Terminated as ended:
        return _refuse(_how_to_go_on("terminated", words), ended.status)
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        if _follows_an_interrupt(error):
            return _refuse(_how_to_go_on("stopped", words), _EXIT_INTERRUPTED)
        if isinstance(error, AdvlabError):
            return _refuse(str(error), error.exit_status)
        for variable, beginning in _REFUSED_VARIABLES.items():
            if variable in os.environ and beginning in str(error):
                value = os.environ[variable]
                return _refuse(f"{variable}={value} in the environment: {beginning.lower()}", 1)
        if isinstance(error, OSError):
            _drop_output()
        if isinstance(error, OSError) and error.strerror:
            return _refuse(
                f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1
            )
        if isinstance(error, MemoryError):
            return _refuse("out of memory; a smaller --batch-size or a smaller data set may fit", 1)
        return _refuse(
            f"{type(error).__name__}: {error} (a fault of advlab; --debug shows where)", 1
        )


def _how_to_go_on(ended: str, words: Sequence[str]) -> str:
    """What to type after the run was ended, so that it goes on."""
    anew = [word for word in ("--overwrite", "--no-resume") if word in words]
    if anew:
        return f"{ended}; the same line without {' and '.join(anew)} goes on where this one was"
    return f"{ended}; the same line typed again goes on where this one was"


def _follows_an_interrupt(error: BaseException) -> bool:
    """Whether an error came up while Ctrl-C was on its way out, as where the import of a library is
    interrupted half-way and what cleans up after it fails."""
    context = error.__context__
    while context is not None and not isinstance(context, KeyboardInterrupt):
        context = context.__context__
    return context is not None


def _drop_output() -> None:
    """Let go of a standard output that takes nothing more, so that the interpreter does not
    complain of it as it closes."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(message: str, status: int) -> int:
    rank = os.environ.get("RANK", "0") if os.environ.get("WORLD_SIZE", "1") != "1" else "0"
    if rank != "0":
        if status > 128:  # a signal, which all processes got
            return status
        # What stops all of them is said once: torchrun ends this process when the first one fails.
        time.sleep(_FIRST_SPEAKS)
        message = f"process {rank}: {message}"
    print("advlab: " + " ".join(message.split()), file=sys.stderr)
    return status


@contextlib.contextmanager
def _first_speaks() -> Iterator[None]:
    """Of several processes, let only the first one write on standard output and show progress.

    Raises:
        UsageError: the environment does not say which process this is.
    """
    from advlab.progress import silence
    from advlab.runs.processes import started

    if started().rank == 0:
        yield
        return
    silence()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def _termination_as_exception() -> Iterator[None]:
    def stop(number: int, _: object) -> None:
        raise _Terminated(number)

    # A terminal that closes sends SIGHUP, which nohup has ignored.
    ending = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    ending = [number for number in ending if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        before = {number: signal.signal(number, stop) for number in ending}
    except ValueError:  # not in the main thread: whoever called keeps the signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            # None where something other than Python had set it
            signal.signal(number, handler or signal.SIG_DFL)


def _dispatch(argv: Sequence[str]) -> int:
    if sys.flags.optimize > 1:
        raise EnvironmentFailure(
            "help and names are read from docstrings, which python -OO and PYTHONOPTIMIZE=2 "
            "remove; run it without them"
        )
    from advlab.cli.line import take_apart
    from advlab.cli.overview import SIDE_SUMMARIES, overview, unknown_command
    from advlab.config.registry import COMMANDS

    line = take_apart(argv)
    if line.words[:1] == ["help"]:
        line = replace(line, words=line.words[1:], switches=line.switches | {"help"})
    if "version" in line.switches:
        print(f"advlab {__version__}")
        return 0
    command = next(iter(line.leading()[0]), None)
    if command is not None and command not in COMMANDS and command not in SIDE_SUMMARIES:
        raise UsageError(unknown_command(command))
    if (
        command is None
        and line.config is None
        and ("help" in line.switches or not (line.words or "print" in line.switches))
    ):
        print(overview())
        return 0
    from advlab.cli.commands import run_command, side_command

    try:
        return side_command(line) if command in SIDE_SUMMARIES else run_command(line)
    except SystemExit as stop:  # argparse, after printing a help text
        return stop.code if isinstance(stop.code, int) else 0
