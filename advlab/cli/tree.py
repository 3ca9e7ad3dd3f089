"""Completion scripts for shells, from a parser of all commands, components and options."""

from __future__ import annotations

from typing import Any

from advlab.cli.flags import Parser, add_flags
from advlab.components import component_names
from advlab.config.options.compare import CompareOptions
from advlab.config.options.export import ExportOptions
from advlab.config.options.listing import ListCommandOptions, RemoveOptions, ReportOptions
from advlab.config.options.plot import PlotOptions
from advlab.config.options.run import DataCommandOptions, DemoOptions
from advlab.config.registry import COMMANDS
from advlab.data import catalogue, raw_texts


def completion(shell: str) -> str:
    """The script to be sourced by ``shell``, "bash" or "zsh"."""
    import shtab

    script: str = shtab.complete(whole(), shell=shell)
    return script


def whole() -> Parser:
    """One parser over everything that can be typed."""
    import shtab

    top = Parser(prog="advlab")
    commands: Any = top.add_subparsers(parser_class=Parser)
    for command in COMMANDS.values():
        components = commands.add_parser(command.name, help=command.summary).add_subparsers(
            parser_class=Parser
        )
        for name in command.components():
            parser = components.add_parser(name, help=name)
            add_flags(parser, command.every(name), complete=True)
            parser.add_argument(
                "--config", help="a YAML file of options, or the name of a recipe"
            ).complete = shtab.FILE
            parser.add_argument(
                "--print-config", action="store_true", help="print every value, and stop"
            )
    data = commands.add_parser("data", help="show the data sets and download them")
    actions = data.add_subparsers(parser_class=Parser)
    for action, words in (("get", "download"), ("show", "draw classes and samples")):
        parser = actions.add_parser(action, help=words)
        parser.add_argument(
            "name", choices=[*catalogue.dataset_names(), *raw_texts.dataset_names()]
        )
        add_flags(parser, [DataCommandOptions])
    add_flags(commands.add_parser("demo", help="everything once, small"), [DemoOptions])
    add_flags(
        commands.add_parser("list", help="show what there is"), [ListCommandOptions], complete=True
    )
    add_flags(commands.add_parser("report", help="a page over all runs"), [ReportOptions])
    compared = commands.add_parser("compare", help="finished runs side by side")
    compared.add_argument("run").complete = shtab.DIRECTORY
    add_flags(compared, [CompareOptions], complete=True)
    plot = commands.add_parser("plot", help="draw figures again")
    plot.add_argument("run").complete = shtab.DIRECTORY
    add_flags(plot, [PlotOptions], complete=True)
    export = commands.add_parser("export", help="finished runs in a tracker")
    export.add_argument("tracker", choices=component_names("advlab.runs.trackers"))
    export.add_argument("run").complete = shtab.DIRECTORY
    add_flags(export, [ExportOptions], complete=True)
    removal = commands.add_parser("remove", help="delete runs")
    removal.add_argument("run").complete = shtab.DIRECTORY
    add_flags(removal, [RemoveOptions])
    commands.add_parser("completion", help="this script").add_argument(
        "shell", choices=["bash", "zsh"]
    )
    return top
