"""Dispatch of commands that carry out runs, and of commands that list, fetch or delete."""

from __future__ import annotations

import argparse
import importlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from advlab.cli.flags import Parser, add_flags, read_flags
from advlab.cli.line import Line
from advlab.cli.overview import SIDE_SUMMARIES, command_overview, summary_of
from advlab.components import flag_suggestion
from advlab.config.base import Options, flag_of
from advlab.config.explain import explain
from advlab.config.model_modules import PACKAGE as MODELS
from advlab.config.references import names_code
from advlab.config.registry import COMMANDS, SIDE_COMMANDS, Command, owners_of
from advlab.config.resolve import Plan, command_of, components_of, resolve
from advlab.config.source import as_list
from advlab.config.variants import place_in, variants_of
from advlab.config.yamlfile import Document, dump_text, read
from advlab.errors import UsageError
from advlab.runs.processes import Started, started

_GRIDS = (
    "Several values of an option, or --seeds N, carry out one run for each combination and compare "
    "them in a table and a figure."
)
_USAGES = {
    "data": "advlab data [get NAME ... | show NAME ...] [options]",
    "demo": "advlab demo [options]",
    "list": "advlab list [KIND] [options]",
    "report": "advlab report [options]",
    "compare": "advlab compare RUN RUN ... [options]",
    "plot": "advlab plot RUN ... [options]",
    "export": "advlab export tensorboard RUN ... [options]",
    "remove": "advlab remove RUN ... [options]",
    "completion": "advlab completion {bash,zsh}",
}


def run_command(line: Line) -> int:
    """Run a command with components: resolve the command line and the file, and pass the plan to
    the experiment.

    Raises:
        UsageError: anything about the line or the file that cannot be.
    """
    leading, rest = line.leading()
    typed, components = (leading[0] if leading else None), leading[1:]
    if typed is None and line.config is None:
        if not rest:
            raise UsageError(f"which command? {', '.join(COMMANDS)}; 'advlab --help' says more")
        raise UsageError(f"unexpected {rest[0]!r}: which command? 'advlab --help' lists them")
    document = Document("") if line.config is None else read(line.config)
    command = command_of(typed, document)
    chosen = components_of(command, components, document)
    if "help" in line.switches and (
        not chosen or (command.usual and not components and line.config is None)
    ):
        print(command_overview(command.name))
        return 0
    network = next((value for word, value in itertools.pairwise(rest) if word == "--model"), None)
    kinds = [
        kind for name in chosen or command.components() for kind in command.every(name, network)
    ]
    prog = " ".join(["advlab", command.name, *components])
    parser = Parser(
        prog=prog, usage=f"{prog} [options]", description=summary_of(kinds[-1]), epilog=_GRIDS
    )
    add_flags(
        parser,
        [command.every(name, network)[-1] for name in chosen] if "help" in line.switches else kinds,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="a YAML file of options, or the name of a recipe; options of the line take precedence",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print the value of every option and stop",
    )
    if "help" in line.switches:
        print(parser.format_help(), end="")
        return 0
    flags = read_flags(parser, rest, kinds)
    _check_no_code(document, flags, kinds)
    if not components and command.package == MODELS:
        _check_no_code_for(command.kind, document)
    plan = resolve(command.name, components, flags, document)
    if "print" in line.switches:
        print(dump_text(plan.mapping), end="")
        return 0
    processes = started()
    if processes.size > 1:
        return _run_together(command, plan, processes)
    status: int = importlib.import_module(command.experiment).main(plan)
    return status


def _run_together(command: Command, plan: Plan, processes: Started) -> int:
    """Carry out a plan with the processes that ``torchrun`` started.

    Raises:
        UsageError: the command does not train a network that they could share, or the line starts
            further processes.
    """
    options = plan.cells[0].options
    if not command.shares_batches:
        raise UsageError(_without_torchrun(command.name))
    if options.workers > 1 or options.cluster is not None:
        flag = "--cluster" if options.cluster is not None else "--workers"
        raise UsageError(
            f"{flag} carries out several runs at a time, and torchrun one run in several "
            "processes; leave one of them out"
        )
    distributed = importlib.import_module("advlab.training.distributed")
    with distributed.join(processes, options.device):
        status: int = importlib.import_module(command.experiment).main(plan)
    return status


def _without_torchrun(command: str) -> str:
    able = [name for name, other in COMMANDS.items() if other.shares_batches]
    return (
        f"{command} runs in a single process; start it without torchrun, which is for "
        f"{', '.join(able[:-1])} and {able[-1]}"
    )


def _check_no_code(
    document: Document, flags: Mapping[str, Any], kinds: Sequence[type[Options]]
) -> None:
    """Refuse a file that names code, unless the same flag, which wins, was typed as well.

    Files are handed on from one to another, and reading one must never run what lies beside it.
    """
    for variant in variants_of(document):
        for key, value in {**document.values, **variant.values}.items():
            fields = [kind.model_fields[key] for kind in kinds if key in kind.model_fields]
            texts = [text for text in as_list(value) if isinstance(text, str)]
            code_options = [
                (text, flag)
                for text in texts
                for flag in map(flag_of, fields)
                if flag.code is not None and flag.code(text)
            ]
            if not code_options or key in flags:
                continue
            text, option = code_options[0]
            place = (
                place_in(document, variant, key) if key in variant.values else document.where(key)
            )
            raise UsageError(
                f"{place}: {option.code_is}, and that is taken from the command line only; "
                f"type --{key.replace('_', '-')} {text} if you trust it"
            )


def _check_no_code_for(kind: str, document: Document) -> None:
    """The same for the network that a file names as the component."""
    for variant in variants_of(document):
        for name in as_list({**document.values, **variant.values}.get(kind)):
            if isinstance(name, str) and names_code(name):
                at_variant = kind in variant.values
                place = place_in(document, variant, kind) if at_variant else document.where(kind)
                raise UsageError(
                    f"{place}: names code to import, and that is taken from the command line only; "
                    f"type {name} after the command if you trust it"
                )


def side_command(line: Line) -> int:
    """A command that carries out no run, such as ``list`` or ``plot``.

    Raises:
        UsageError: anything about the line that cannot be.
    """
    (command, *words), rest = line.leading()
    kind = SIDE_COMMANDS.get(command)
    parser = Parser(
        prog=f"advlab {command}", usage=_USAGES[command], description=SIDE_SUMMARIES[command]
    )
    kinds = [kind] if kind else []
    add_flags(parser, kinds)
    if "help" in line.switches:
        print(parser.format_help(), end="")
        return 0
    for requested, flag in (
        (line.config is not None, "--config"),
        ("print" in line.switches, "--print-config"),
    ):
        if requested:
            raise UsageError(f"{flag} goes with {' and '.join(COMMANDS)}, not with {command}")
    options = _side_options(command, kind, read_flags(parser, rest, kinds))
    if started().size > 1:
        raise UsageError(_without_torchrun(command))
    if command == "completion":
        if words not in (["bash"], ["zsh"]):
            raise UsageError(
                "completion: for which shell? 'advlab completion bash' or 'advlab completion zsh'"
            )
        print(importlib.import_module("advlab.cli.tree").completion(words[0]))
        return 0
    if command == "list":
        status: int = importlib.import_module("advlab.experiments.list.run").main(options, words)
        return status
    if command in ("report", "demo"):
        if words:
            raise UsageError(f"{command}: unexpected {words[0]!r}; 'advlab {command}' stands alone")
        status = importlib.import_module(f"advlab.experiments.{command}.run").main(options)
        return status
    if command in ("compare", "export", "plot", "remove"):
        status = importlib.import_module(f"advlab.experiments.{command}.run").main(words, options)
        return status
    action, *sets = words or ["list"]
    status = importlib.import_module("advlab.experiments.data.run").main(action, sets, options)
    return status


def _side_options(
    command: str, kind: type[Options] | None, flags: Mapping[str, Any]
) -> Options | None:
    fields: Sequence[str] = list(kind.model_fields) if kind else []
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if name not in fields:
            if owners := owners_of(name):
                raise UsageError(f"{flag}: belongs to {owners}, not to 'advlab {command}'")
            known = [
                "--" + field.replace("_", "-") for field in (*fields, "debug", "help", "version")
            ]
            raise UsageError(
                f"{flag}: unknown flag{flag_suggestion(flag, known)}; 'advlab {command} --help' "
                "lists them all"
            )
        if isinstance(value, list):
            raise UsageError(f"{flag}: takes one value, not {len(value)}")
    if kind is None:
        return None
    try:
        return kind(**flags)
    except ValidationError as error:
        raise UsageError(
            explain(error, kind, lambda name: "--" + name.replace("_", "-"), flags)
        ) from None
