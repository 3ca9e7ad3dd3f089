"""``advlab``: from argv to one experiment. Every refusal is one line on stderr with an exit status that tells whose fault it was."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from advlab import __version__, names
from advlab.errors import AdvlabError, UserError

_SUMMARIES = {
    "data": "show the data sets and download them",
    "list": "show models, attacks, data sets, configurations and finished runs",
    "completion": "print a completion script for bash or zsh",
}
_GRIDS = "Several values for a flag, or --seeds N, make a grid: a run for each, and a table and picture that compare them."
_EXIT_INTERRUPTED, _EXIT_TERMINATED, _EXIT_PIPE = 130, 143, 141


class _Terminated(BaseException):
    """SIGTERM, as an exception, so that files are closed and locks given back."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0; 2 for the user's mistake, 1 for the world's, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with _termination_as_exception():
            status = _dispatch(words)
            sys.stdout.flush()
            return status
    except SystemExit as stop:  # argparse, after printing a help text
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        # Whoever read our output went away; nothing more can be said, not even by the interpreter as it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_PIPE
    except KeyboardInterrupt:
        return _refuse("stopped; the same line typed again goes on where this one was", _EXIT_INTERRUPTED)
    except _Terminated:
        return _refuse("terminated; the same line typed again goes on where this one was", _EXIT_TERMINATED)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, AdvlabError):
            return _refuse(str(error), error.exit_status)
        if isinstance(error, OSError) and error.strerror:
            return _refuse(f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1)
        return _refuse(f"{type(error).__name__}: {error} (a fault of advlab; --debug shows where)", 1)


def _refuse(message: str, status: int) -> int:
    print("advlab: " + " ".join(message.split()), file=sys.stderr)
    return status


@contextlib.contextmanager
def _termination_as_exception() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: whoever called keeps the signal
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _dispatch(words: list[str]) -> int:
    from advlab.config.registry import COMMANDS

    words, file = _take_value(words, "--config")
    if words[:1] in (["--version"], ["-V"]):
        print(f"advlab {__version__}")
        return 0
    if words[:1] in (["--help"], ["-h"], ["help"]) or (not words and file is None):
        print(_overview())
        return 0
    command = words.pop(0) if words and not words[0].startswith("-") else None
    if command is not None and command not in COMMANDS and command not in _SUMMARIES:
        raise UserError(_unknown_command(command))
    if command in _SUMMARIES:
        if file is not None:
            raise UserError(f"--config goes with {' and '.join(COMMANDS)}, not with {command}")
        return _side_command(str(command), words)
    return _experiment(command, words, file)


def _experiment(command: str | None, words: list[str], file: str | None) -> int:
    import argparse

    from advlab.cli.flags import Parser, add_flags, read_flags
    from advlab.config.registry import command_named
    from advlab.config.resolve import resolve
    from advlab.config.yamlfile import dump_text, read

    document = None if file is None else read(file)
    components: list[str] = []
    while words and not words[0].startswith("-"):
        components.append(words.pop(0))
    wants_help = "--help" in words or "-h" in words
    if command is None:
        said = None if document is None else document.values.get("command")
        if not isinstance(said, str):
            first = f"unexpected {words[0]!r}: " if words else ""
            raise UserError(f"{first}which command?" + (f" {file} does not say 'command: …'" if file else "; 'advlab --help' lists them"))
        chosen = command_named(said)
    else:
        chosen = command_named(command)
    if wants_help and not components:
        print(_command_overview(chosen.name))
        return 0
    asked = components or _components_of(document, chosen.key)
    kinds = [chosen.options(str(component)) for component in asked] or [chosen.options(name) for name in chosen.components()]
    prog = " ".join(["advlab", chosen.name, *components])
    parser = Parser(prog=prog, usage=f"{prog} [flags]", description=_summary(kinds[0]), epilog=_GRIDS)
    add_flags(parser, kinds)
    parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="a YAML file of options; flags beat it")
    parser.add_argument("--print-config", action="store_true", default=argparse.SUPPRESS, help="print every value, and stop")
    print_only = "--print-config" in words
    words = [word for word in words if word != "--print-config"]
    flags = read_flags(parser, words, kinds)
    plan = resolve(chosen.name, components, flags, document)
    if print_only:
        sys.stdout.write(dump_text(plan.mapping))
        return 0
    status: int = importlib.import_module(chosen.experiment).main(plan)
    return status


def _side_command(command: str, words: list[str]) -> int:
    from advlab.cli.flags import Parser, add_flags, read_flags
    from advlab.cli.tree import completion
    from advlab.config.commands import DataCommandOptions, ListCommandOptions
    from advlab.config.explain import explain

    positional = []
    while words and not words[0].startswith("-"):
        positional.append(words.pop(0))
    kind: Any = {"data": DataCommandOptions, "list": ListCommandOptions}.get(command)
    usage = {"data": "advlab data [get NAME ...]", "list": "advlab list", "completion": "advlab completion {bash,zsh}"}[command]
    parser = Parser(prog=f"advlab {command}", usage=f"{usage} [flags]" if kind else usage, description=_SUMMARIES[command])
    kinds = [kind] if kind else []
    add_flags(parser, kinds)
    flags = read_flags(parser, words, kinds)
    unknown = [name for name in flags if not kind or name not in kind.model_fields]
    if unknown:
        known = ["--" + name.replace("_", "-") for name in kind.model_fields] if kind else []
        flag = "--" + unknown[0].replace("_", "-")
        raise UserError(f"{flag}: unknown flag{names.suggestion(flag, known)}; 'advlab {command} --help' lists them all")
    if command == "completion":
        if len(positional) != 1 or positional[0] not in ("bash", "zsh"):
            raise UserError("completion: for which shell? 'advlab completion bash' or 'advlab completion zsh'")
        print(completion(positional[0]))
        return 0
    from pydantic import ValidationError

    try:
        options = kind(**flags)
    except ValidationError as error:
        raise UserError(explain(error, kind, lambda name: "--" + name.replace("_", "-"))) from None
    if command == "list":
        if positional:
            raise UserError(f"list: unexpected {positional[0]!r}")
        status: int = importlib.import_module("advlab.experiments.list").main(options)
        return status
    action = positional.pop(0) if positional else "list"
    status = importlib.import_module("advlab.experiments.data").main(action, positional, options)
    return status


def _take_value(words: list[str], flag: str) -> tuple[list[str], str | None]:
    """Take ``flag VALUE`` or ``flag=VALUE`` out of the words, wherever it stands."""
    left: list[str] = []
    value: str | None = None
    rest = iter(words)
    for word in rest:
        if word != flag and not word.startswith(flag + "="):
            left.append(word)
            continue
        if value is not None:
            raise UserError(f"{flag}: given twice")
        value = word.partition("=")[2] if "=" in word else next(rest, "")
        if not value or (value.startswith("--") and "=" not in word):
            raise UserError(f"{flag}: needs a file")
    return left, value


def _components_of(document: Any, key: str) -> list[Any]:
    """The components that a file names, at its top or in its variants; which flags exist depends on them."""
    if document is None:
        return []
    entries = document.values.get("variants")
    found = [document.values.get(key)]
    found += [entry.get(key) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [item for value in found for item in (value if isinstance(value, list) else [value]) if item is not None]


def _unknown_command(command: str) -> str:
    from advlab.config.registry import COMMANDS

    everything = [*COMMANDS, *_SUMMARIES]
    for known in COMMANDS.values():
        if command in known.components():
            return f"{command} is a {known.kind}: 'advlab {known.name} {command}'"
    return f"unknown command {command!r}{names.suggestion(command, everything)}; there are: {', '.join(everything)}"


def _overview() -> str:
    from advlab.cli.flags import describe
    from advlab.config.registry import COMMANDS

    commands = {f"{c.name} {c.kind.upper()}": c.summary for c in COMMANDS.values()} | _SUMMARIES
    examples = "\n".join(f"  {c.example}" for c in COMMANDS.values())
    return (
        "advlab: a laboratory bench for adversarial machine learning\n\n"
        f"commands:\n{describe(commands)}\n\nexamples:\n{examples}\n\n"
        "anywhere:\n"
        "  --config FILE    a YAML file of options; a flag beats the file, the file beats the default\n"
        "  --print-config   print every value that a line amounts to, and stop\n"
        "  --debug          show the traceback of an error\n"
        "  --version\n\n"
        "'advlab COMMAND --help' and 'advlab COMMAND NAME --help' say more."
    )


def _command_overview(name: str) -> str:
    from advlab.cli.flags import describe
    from advlab.config.registry import COMMANDS

    command = COMMANDS[name]
    components = {component: _summary(command.options(component)) for component in command.components()}
    return (
        f"advlab {name} {command.kind.upper()} [flags]: {command.summary}\n\n{command.kind}s:\n{describe(components)}\n\n"
        f"example:\n  {command.example}\n\n'advlab {name} {next(iter(components))} --help' lists the flags of one."
    )


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]
