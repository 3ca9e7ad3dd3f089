"""Help texts of the whole program and of each command."""

from __future__ import annotations

from advlab.components import suggestion
from advlab.config.model_modules import PACKAGE as MODELS
from advlab.config.registry import COMMANDS, Command
from advlab.runs.table import describe

SIDE_SUMMARIES = {
    "demo": "run a small example of everything and write one page of results",
    "data": "list, download and draw data sets",
    "list": "list components, data sets, recipes and finished runs",
    "report": "write one page over all finished runs, with tables and figures",
    "compare": "put finished runs side by side, as a table and a figure",
    "plot": "draw the figures of runs again, in another format, size or style",
    "export": "write finished runs to TensorBoard, Weights & Biases or MLflow",
    "remove": "delete runs; only files that advlab wrote are deleted",
    "completion": "print a completion script for bash or zsh",
}
"""The commands that carry out no runs, and what they do."""


_OTHER_NETWORKS = (
    "or a network that starts from its weights: torchvision:NAME, timm:NAME,\n"
    "robustbench:NAME, FILE.py:FUNCTION, package.module:FUNCTION, a checkpoint or the folder of a\n"
    "run\n"
)


def overview() -> str:
    """What ``advlab --help`` prints."""
    commands = {
        f"{c.name} {_placeholder(c)}": c.summary for c in COMMANDS.values()
    } | SIDE_SUMMARIES
    examples = "\n".join(f"  {c.example}" for c in COMMANDS.values())
    return (
        "advlab: a laboratory for adversarial machine learning\n\n"
        f"commands:\n{describe(commands)}\n\nexamples:\n{examples}\n\n"
        "every command:\n"
        "  --config FILE    a YAML file of options; a flag beats the file, the file beats the "
        "default\n"
        "  --print-config   print the value of every option and stop\n"
        "  --debug          show the traceback of an error\n"
        "  --version\n\n"
        "'advlab COMMAND --help' lists components, and 'advlab COMMAND NAME --help' its options."
    )


def command_overview(name: str) -> str:
    """What ``advlab train --help`` prints."""
    command = COMMANDS[name]
    usual = f" ({command.usual} where none is named)" if command.usual else ""
    components = {
        component: summary_of(command.options(component)) for component in command.components()
    }
    others = f"\n{_OTHER_NETWORKS}" if command.package == MODELS else ""
    return (
        f"advlab {name} {_placeholder(command)} [options]: "
        f"{command.summary}\n\n{command.kind}s{usual}:\n{describe(components)}\n{others}\n"
        f"example:\n  {command.example}\n\n'advlab {name} {next(iter(components))} --help' lists "
        "the options of one."
    )


def _placeholder(command: Command) -> str:
    return f"[{command.kind.upper()}]" if command.usual else command.kind.upper()


def unknown_command(typed: str) -> str:
    """What to say of a command that does not exist."""
    for command in COMMANDS.values():
        if typed in command.components():
            article = "an" if command.kind[0] in "aeiou" else "a"
            return f"{typed} is {article} {command.kind}: 'advlab {command.name} {typed}'"
    everything = [*COMMANDS, *SIDE_SUMMARIES]
    return (
        f"unknown command {typed!r}{suggestion(typed, everything)}; there are: "
        f"{', '.join(everything)}"
    )


def summary_of(kind: type) -> str:
    """The first line of the docstring of an options class."""
    return (kind.__doc__ or "").strip().splitlines()[0]
