"""The identity of a run: its options and the content of everything it reads."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from advlab.config.base import flags_of, identity_of
from advlab.config.references import names_code
from advlab.config.resolve import Config
from advlab.errors import EnvironmentFailure
from advlab.runs.files import IDENTITY, write_text
from advlab.runs.processes import current
from advlab.runs.results import SCHEMA_VERSION

FILE = IDENTITY


@dataclass(frozen=True)
class Identity:
    """The identity of a run: its options and the content of its inputs.

    Attributes:
        command: the command.
        component: the model, attack, defence or action.
        options: every option that changes what is computed, by its name; ``processes``, where
            several share each batch; and the ``revision`` of what they are options of, where it is
            not the first.
        contents: sha256 of the data and of every network or file that the run starts from, by what
            it is.
        schema_version: of the result.
    """

    command: str
    component: str
    options: Mapping[str, Any]
    contents: Mapping[str, str]
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def of(cls, config: Config, contents: Mapping[str, str]) -> Identity:
        """The identity of a settled configuration with these contents.

        Files that an option names join ``contents`` by themselves where the caller does not say
        what they hold.
        """
        options = identity_of(config.options)
        if current().size > 1:
            options["processes"] = current().size
        if config.options.revision > 1:
            options["revision"] = config.options.revision
        hashes = dict(contents)
        for name, flag in flags_of(config.options).items():
            if name not in options or flag.by_content is None:
                continue
            place = options[name]
            if isinstance(place, str) and not flag.by_content(place):
                continue
            del options[name]
            if name not in hashes and isinstance(place, str) and Path(place).is_file():
                digest = hashlib.sha256(Path(place).read_bytes()).hexdigest()
                if (
                    digest not in contents.values()
                ):  # a network's file, which the caller knows by what it is
                    hashes[name] = digest
        options = {name: _without_place(value) for name, value in options.items()}
        component = str(_without_place(config.component))
        return cls(config.command, component, json.loads(json.dumps(options)), hashes)

    def text(self) -> str:
        """The content of ``identity.json``; equal for equal identities, letter for letter."""
        values = {
            "schema_version": self.schema_version,
            "command": self.command,
            "component": self.component,
            "contents": dict(self.contents),
            "options": dict(self.options),
        }
        return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def differences(self, other: Identity, defaults: Mapping[str, Any]) -> list[str]:
        """What tells the run ``other`` from this one, a few words for each difference.

        Args:
            defaults: by option; an option that an earlier run did not know had its default.
        """
        differences = []
        for what in ("schema_version", "command", "component"):
            a, b = getattr(other, what), getattr(self, what)
            if _without_place(a) != _without_place(b):
                differences.append(f"{what.replace('_', ' ')} {a} there, {b} here")
        for name in sorted({*self.contents, *other.contents}):
            a, b = (contents.get(name, "none")[:12] for contents in (other.contents, self.contents))
            if other.contents.get(name) != self.contents.get(name):
                differences.append(f"{name} {a} there, {b} here")
        names = {*self.options, *other.options}
        if differences and (other.command, other.component) != (self.command, self.component):
            names = {*self.options} & {
                *other.options
            }  # options of one component alone say nothing more
        for name in sorted(names):
            a, b = (
                options.get(name, defaults.get(name)) for options in (other.options, self.options)
            )
            if name == "device" and {a, b} == {"auto", _automatic_device()}:
                continue  # the same device, named and not named
            if _without_place(a) != _without_place(b):
                differences.append(f"{name} {word(a)} there, {word(b)} here")
        return differences


def _without_place(value: object) -> object:
    """An option's value, of a user's own code without its folder: ``contents`` holds its hash."""
    return Path(value).name if isinstance(value, str) and names_code(value) else value


def word(value: object) -> object:
    """An option's value as a person would say it."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else value


def write(folder: Path, identity: Identity) -> None:
    """Write ``identity.json``, whole or not at all."""
    write_text(folder / FILE, identity.text())


def read(folder: Path) -> Identity | None:
    """The identity of the run in ``folder``; None where there is none.

    Raises:
        EnvironmentFailure: the file is damaged.
    """
    file = folder / FILE
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(values, dict) or set(values) != {
            field.name for field in fields(Identity)
        }:
            raise ValueError("it does not hold what makes a run")
        return _STORED.validate_json(text, strict=True)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(file, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(file, str(error)) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}")


def _damaged(file: Path, why: str) -> EnvironmentFailure:
    return EnvironmentFailure(f"{file} is damaged ({why}); --overwrite runs it again")


_STORED = TypeAdapter(Identity)


def digest_of(file: Path) -> str:
    """The hash of the identity that a file belongs to: that of its folder, or of the folder above.

    Returns:
        The sha256 of ``identity.json``; an empty string for a file outside any run.
    """
    for folder in (file.parent, file.parent.parent):
        if (folder / FILE).is_file():
            return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    return ""


def _automatic_device() -> str:
    """What ``--device auto`` is on this machine."""
    machine = importlib.import_module("advlab.runs.machine")  # torch, which few need here
    name: str = machine.device_of("auto").type
    return name
