"""Argument parsers built from options classes, which define names, types, ranges and help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic.fields import FieldInfo

from advlab.config.base import Options, flag_of
from advlab.config.explain import bounds, choices
from advlab.config.former import present_name
from advlab.errors import UsageError


class Parser(argparse.ArgumentParser):
    """argparse that raises its complaints, takes no abbreviations, and reads ``-1e-3`` as a
    value."""

    def __init__(self, **options: Any) -> None:
        """As ``argparse.ArgumentParser``."""
        super().__init__(allow_abbrev=False, formatter_class=_Help, **options)
        self._negative_number_matcher = re.compile(r"^-(\d|\.\d|inf|nan)")

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing a usage of many lines."""
        text = message.removeprefix("argument ").replace(
            "expected at least one argument", "needs a value"
        )
        text = re.sub(r"ignored explicit argument (.*)$", r"takes no value, and \1 was given", text)
        raise UsageError(f"{text}; '{self.prog} --help' explains")


class _Help(argparse.HelpFormatter):
    """Wide enough to be read."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        """``--lr LR``, not ``--lr LR [LR ...]``: that several values make a grid is said once, not
        at every flag."""
        text = super()._format_args(action, default_metavar)
        return (
            text.split(" [")[0]
            if action.nargs == "+"
            else f"[{action.metavar}]"
            if action.nargs == "*"
            else text
        )


class _Once(argparse.Action):
    """Store the values of a flag; given twice, it is unclear which one is meant."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if hasattr(namespace, self.dest):
            raise UsageError(f"{option_string}: given twice")
        setattr(namespace, self.dest, values)


class _SwitchOnce(argparse.BooleanOptionalAction):
    """``--resume`` or ``--no-resume``, but not both, nor one of them twice."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if hasattr(namespace, self.dest):
            raise UsageError(f"{' or '.join(self.option_strings)}: given twice")
        super().__call__(parser, namespace, values, option_string)


_FEW = 8  # files of a package that help lists in place of a placeholder


def add_flags(
    parser: argparse.ArgumentParser, kinds: Sequence[type[Options]], complete: bool = False
) -> None:
    """Give ``parser`` a flag for every field of the options classes, in groups; nothing is stored
    for flags not typed.

    Args:
        complete: tell the parser which words a flag takes, for completion. A parser that reads what
            was typed must not know them: the options class refuses the others, and says it better.
    """
    fields: dict[str, FieldInfo] = {}
    for kind in kinds:
        fields = {**fields, **kind.model_fields}
    ordered = sorted(fields.items(), key=lambda item: _order(flag_of(item[1]).group))
    groups = {
        title: parser.add_argument_group(title)
        for title in dict.fromkeys(flag_of(field).group for _, field in ordered)
    }
    for name, field in ordered:
        group = groups[flag_of(field).group]
        flag = "--" + name.replace("_", "-")
        text = _help(field) if flag_of(field).in_help else argparse.SUPPRESS
        if field.annotation is bool:
            group.add_argument(
                flag, dest=name, action=_SwitchOnce, default=argparse.SUPPRESS, help=text
            )
            continue
        words, named = choices(field), flag_of(field).words
        files = named() if named else []
        known = words or [word for word in files if not word.endswith(":")]
        if not words and flag_of(field).accepts is None and len(files) == len(known) <= _FEW:
            words = files
        group.add_argument(
            flag,
            dest=name,
            action=_Once,
            nargs="*" if flag_of(field).bare is not None else "+",
            default=argparse.SUPPRESS,
            metavar="{" + ",".join(words) + "}" if words else name.rsplit("_", 1)[-1].upper(),
            help=text,
            choices=known if complete and known else None,
        )


def read_flags(
    parser: argparse.ArgumentParser, tokens: Sequence[str], kinds: Sequence[type[Options]]
) -> dict[str, object]:
    """What was typed, by option name: text, true or false, or a list of texts where there were
    several.

    Unknown flags come back too, with what followed them, so that whoever knows all options can say
    whose they are.

    Raises:
        UsageError: a word that belongs to no flag, or a flag without its value.
    """
    namespace, rest = parser.parse_known_args([_dashed(token) for token in tokens])
    typed: dict[str, object] = {}
    for name, value in vars(namespace).items():
        field = next(kind.model_fields[name] for kind in kinds if name in kind.model_fields)
        if isinstance(value, list):
            value = value or [flag_of(field).bare]
            typed[name] = value[0] if len(value) == 1 else value
        else:
            typed[name] = value
    for token in rest:
        if token.startswith("--") and len(token) > 2:
            typed.setdefault(token[2:].split("=")[0].replace("-", "_"), True)
            return typed
    if rest:
        raise UsageError(
            f"unexpected {rest[0]!r}; options start with two dashes, '{parser.prog} --help' lists "
            "them"
        )
    return typed


def _dashed(token: str) -> str:
    """``--batch_size=8`` as ``--batch-size=8``, and an earlier name as the present one."""
    if not token.startswith("--"):
        return token
    flag, equals, value = token.partition("=")
    present = present_name(flag[2:]).replace("_", "-")
    return f"--{present}{equals}{value}"


def _order(group: str) -> int:
    order = (
        "perturbation",
        "defence",
        "augmentation",
        "network",
        "training",
        "victim",
        "data",
        "run",
    )
    return order.index(group) if group in order else -1


def _help(field: FieldInfo) -> str:
    notes = [bounds(field)] if bounds(field) else []
    bare = flag_of(field).bare
    notes += [f"alone: {bare}"] if bare is not None else []
    default = field.get_default(call_default_factory=True)
    if default not in (None, []) and not isinstance(default, bool):
        notes.append(
            f"default {' '.join(map(str, default)) if isinstance(default, list) else default}"
        )
    elif default is True:
        notes.append("default")
    text = f"{field.description} ({'; '.join(notes)})" if notes else str(field.description)
    return text.replace("%", "%%")
