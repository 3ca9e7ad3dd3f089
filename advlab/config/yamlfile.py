"""Reading and writing of YAML: safe and strict, with a line number for every key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from advlab.components import suggestion
from advlab.config.base import WrittenFloat, WrittenInt
from advlab.config.former import present_name
from advlab.errors import UsageError
from advlab.input_files import is_plain

_LARGEST = 1_000_000  # bytes; a configuration of this size is some other file


class _NotPlain(yaml.MarkedYAMLError):
    """Valid YAML that a configuration has no use for: an alias or a tag."""


def _not_plain(problem: str, event: Any) -> _NotPlain:
    return _NotPlain(problem=problem, problem_mark=event.start_mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2: ``1e-3`` is a number, ``no`` and ``1:30``
    are text.

    Tags and aliases are refused: the values need no type but their own, and a few lines of aliases
    can stand for more values than a memory holds.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node, where it is plain."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _not_plain(
                f"aliases such as *{event.anchor} are not taken; write the value out", event
            )
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise _not_plain(f"tags such as {tag} are not taken; write the plain value", event)
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number: decimal, ``0o17`` or ``0x1F``, as in the core schema of YAML 1.2.

        Raises:
            _NotPlain: it starts with a zero. YAML 1.1 reads 010 as 8, YAML 1.2 as 10, and where a
                text is wanted the zero itself would be lost.
        """
        text = node.value
        if re.match(r"[-+]?0[0-9]", text):
            plain = f"{'-' * text.startswith('-')}{text.lstrip('-+').lstrip('0') or '0'}"
            raise _NotPlain(
                problem=f"{text} starts with a zero, which YAML's versions read differently; "
                f"write {plain}, or '{text}' in quotes for a text",
                problem_mark=node.start_mark,
            )
        number = WrittenInt(int(text, {"0o": 8, "0x": 16}.get(text[:2], 10)))
        number.text = text
        return number

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A number that remembers how it is written."""
        number = WrittenFloat(super().construct_yaml_float(node))
        number.text = node.value
        return number


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper: a line for each key, and quotes around text that the loader above would
    take for a number."""

    yaml_implicit_resolvers = {
        first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        """True: a list that is used twice is written twice."""
        return True

    def serialize(self, node: Any) -> None:
        """Write the node at the top, whose keys get lines of their own; further in, short is
        better."""
        node.flow_style = False
        super().serialize(node)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
):
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}",
            re.compile(rf"^(?:{_pattern})$"),
            [c if c != "\0" else "" for c in _first],
        )

_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


@dataclass(frozen=True)
class Document:
    """A YAML file: its values by key (dashes in keys read as underscores), and the line that each
    key stands on.

    Attributes:
        lines: of the keys at the top.
        variant_lines: of the keys in each entry of ``variants``, in their order.
    """

    path: str
    values: dict[str, object] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    variant_lines: tuple[dict[str, int], ...] = ()

    def where(self, key: str) -> str:
        """``file.yaml:7: key``, for the start of a refusal."""
        name = key or "''"
        return (
            f"{self.path}:{self.lines[key]}: {name}"
            if key in self.lines
            else f"{self.path}: {name}"
        )


RECIPES = Path(__file__).parent.parent / "recipes"
"""Configurations that come with the package, each with its measured result at its head."""


def recipes() -> list[str]:
    """The names of the configurations that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def read(path: str | Path) -> Document:
    """Read a YAML file that holds one mapping.

    Args:
        path: a file; or, where there is no such file, the name of a recipe that comes with the
            package.

    Raises:
        UsageError: it is missing, a folder, empty, not UTF-8, not YAML, no mapping, names a key
            twice or under both spellings, or asks for Python objects. One line that names the file,
            and the line where there is one.
    """
    file = Path(path)
    if str(path) in recipes() and not file.exists():
        file = RECIPES / f"{path}.yaml"
    text = _text(file)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise UsageError(f"{file} is empty; a configuration starts like 'command: train'")
            if not isinstance(node, yaml.MappingNode):
                what = "list" if isinstance(node, yaml.SequenceNode) else "single value"
                raise UsageError(
                    f"{file} holds a {what} at the top; a configuration is a mapping such as "
                    "'lr: 0.001'"
                )
            lines = _keys(node, file)
            variant_lines = _variant_lines(node, file)
            values = {
                present_name(str(key)): value
                for key, value in loader.construct_document(node).items()
            }
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise UsageError(
            f"{file}{line}: "
            f"{'' if isinstance(error, _NotPlain) else 'not valid YAML: '}{error.problem}"
        ) from error
    except yaml.reader.ReaderError as error:
        line = f":{text.count(chr(10), 0, error.position) + 1}"
        raise UsageError(
            f"{file}{line}: not valid YAML: a control character (code {int(error.character)})"
        ) from error
    except RecursionError as error:
        raise UsageError(
            f"{file}: nested too deeply; a configuration is flat, such as 'lr: 0.001'"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{file}: not valid YAML: {str(error).splitlines()[0]}") from error
    return Document(str(file), values, lines, variant_lines)


def dump_text(mapping: dict[str, object]) -> str:
    """A mapping as YAML that ``read`` gives back exactly, keys in their order."""
    text: str = yaml.dump(
        mapping,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=120,
    )
    return text


def _text(file: Path) -> str:
    if not file.exists():
        near = [
            str(path)
            for folder in (file.parent, Path("configs"))
            for path in sorted(folder.glob("*.yaml"))
        ]
        hint = suggestion(str(file), near) or suggestion(file.stem, recipes())
        raise UsageError(
            f"no configuration at {file}{hint}; --config takes a YAML file or a recipe's name, "
            "which 'advlab list' lists"
        )
    if not is_plain(file):
        raise UsageError(f"{file} is a folder; --config takes a YAML file")
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise UsageError(f"{file} has more than {_LARGEST:,} bytes; is it a configuration?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def _keys(node: yaml.MappingNode, file: Path) -> dict[str, int]:
    """Line of each key, after refusing keys that are no text or stand twice, here and in mappings
    further in."""
    lines: dict[str, int] = {}
    written: dict[str, str] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise UsageError(f"{file}:{line}: keys are names such as lr, not a list or mapping")
        if not key_node.tag.endswith(":str"):
            raise UsageError(f"{file}:{line}: keys are names such as lr, not {key_node.value!r}")
        key = present_name(key_node.value)
        if key in lines:
            both = (
                f"{written[key]} and {key_node.value}, the same key,"
                if written[key] != key_node.value
                else f"{key_node.value}"
            )
            raise UsageError(f"{file}:{line}: {both} given twice, first on line {lines[key]}")
        lines[key], written[key] = line, key_node.value
        for inner in (
            value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
        ):
            if isinstance(inner, yaml.MappingNode):
                _keys(inner, file)
    return lines


def _variant_lines(node: yaml.MappingNode, file: Path) -> tuple[dict[str, int], ...]:
    """Line of each key in each of the ``variants``."""
    for key, value in node.value:
        if key.value == "variants" and isinstance(value, yaml.SequenceNode):
            return tuple(
                _keys(entry, file) if isinstance(entry, yaml.MappingNode) else {}
                for entry in value.value
            )
    return ()
