"""Base class of all options, and what the command line needs to know about an option."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


@dataclass(frozen=True)
class Flag:
    """What the command line needs to know of a field beyond its type, put beside it in
    ``Annotated``.

    Attributes:
        bare: the value meant by the flag alone (``--dropout`` is ``--dropout 0.5``); None where it
            needs one.
        grid: whether several values make a grid of runs; False for what names or places a single
            run.
        identity: whether the field says what is computed. Fields that only say where or how it is
            carried out (an output folder, resuming) are False, and never make two runs different.
        group: the heading that the help shows it under.
        words: the names that may be given, where they are files of a package; one that ends in a
            colon starts a name.
        accepts: whether a value that is none of ``words`` may be given too.
        others: what such values are, for a refusal.
        hints: what a refusal adds for a value that begins so and is taken by other commands, by the
            beginning.
        form: what the value must look like where it has a pattern, for a refusal ("must be …").
        code: whether a value names code that is imported. It is taken from the command line only:
            a file is data, which may come from anybody.
        code_is: what such a value does, for a refusal.
        in_help: whether help lists the option. One that other kinds of data have is refused with a
            reason, and not listed.
        place: whether a value may be the place of a file or of a run's folder, which is then there
            before any run of a grid begins.
        by_content: whether a value names a file or a network whose content makes runs different,
            and not its place; None for an option of other values.
    """

    bare: str | None = None
    grid: bool = True
    identity: bool = True
    group: str = "options"
    words: Callable[[], list[str]] | None = None
    accepts: Callable[[str], bool] | None = None
    others: str = ""
    hints: Callable[[], Mapping[str, str]] | None = None
    form: str | None = None
    code: Callable[[str], bool] | None = None
    code_is: str = "names code to import"
    in_help: bool = True
    place: bool = False
    by_content: Callable[[str], bool] | None = None


class WrittenInt(int):
    """A whole number of a file, with the text that stands there."""

    text: str

    def __str__(self) -> str:
        return self.text


class WrittenFloat(float):
    """A number of a file, with the text that stands there: as a name, 1.10 is not 1.1."""

    text: str

    def __str__(self) -> str:
        return self.text


def plain(value: Any, *, as_text: bool) -> Any:
    """A value whose numbers from a file are plain numbers, or the texts that stand there."""
    if isinstance(value, list):
        return [plain(item, as_text=as_text) for item in value]
    if isinstance(value, (WrittenInt, WrittenFloat)):
        number = int(value) if isinstance(value, WrittenInt) else float(value)
        return value.text if as_text else number
    return value


Part = TypeVar("Part", bound="Options")

_THOUSANDS = re.compile(r"(?<![\d_.])\d{1,3}(?:_\d{3})+(?![\d_])")

Conditions = Mapping[str, tuple[str, tuple[str, ...]]]
"""By the name of an option, another option and the values of that one which it goes with."""


class Options(BaseModel):
    """Base of all options: unknown keys, NaN, infinity and a bool given as a number are refused;
    nothing changes later."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        defer_build=True,
        protected_namespaces=(),
        str_strip_whitespace=True,
        # 'target: 3' in YAML is what '--target 3' is on the command line
        coerce_numbers_to_str=True,
    )

    # Raised where the same options compute something else than in an earlier version of advlab.
    revision: ClassVar[int] = 1
    # Options that change nothing unless another one has one of these values.
    goes_with: ClassVar[Conditions] = {}

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_is_meant(cls, value: Any, info: Any) -> Any:
        """Python counts True as 1, and pydantic takes 1 and "on" for true; a user who writes ``lr:
        true`` does not. A number of a file is a text where one is wanted."""
        field = cls.model_fields[info.field_name]
        value = plain(value, as_text="str" in str(field.annotation) and not _number_kinds(field))
        items = value if isinstance(value, list) else [value]
        if _number_kinds(field) and any(isinstance(item, bool) for item in items):
            raise PydanticCustomError("bool_for_number", "must be a number")
        if field.annotation is bool and not isinstance(value, bool):
            raise PydanticCustomError("no_bool", "must be true or false")
        if _number_kinds(field):
            items = [_refusable(item) for item in items]
            value = items if isinstance(value, list) else items[0]
        return value

    @model_validator(mode="after")
    def _of_use(self) -> Options:
        """Refuse an option that would change nothing, where its value is not the default."""
        for name, (other, wanted) in self.conditions().items():
            if not self.has_use_for(name) and getattr(self, name) != self.usual(name):
                raise PydanticCustomError(
                    "goes_with",
                    "goes with {flag} {wanted}, not with {chosen}",
                    {
                        "option": name,
                        "flag": "--" + other.replace("_", "-"),
                        "wanted": " or ".join(wanted),
                        "chosen": str(getattr(self, other)),
                    },
                )
        return self

    def has_use_for(self, name: str) -> bool:
        """Whether an option changes anything beside the values of the others."""
        other, wanted = self.conditions().get(name, ("", ()))
        return not other or getattr(self, other) in wanted

    @classmethod
    def conditions(cls) -> Conditions:
        """What ``goes_with`` says in this class and in those that it derives from."""
        joined: dict[str, tuple[str, tuple[str, ...]]] = {}
        for one in reversed(cls.__mro__):
            joined |= vars(one).get("goes_with", {})
        return joined

    def part(self, kind: type[Part]) -> Part:
        """Those of the options that ``kind`` has, such as the choice of a data set, without the
        others of a command."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})

    @classmethod
    def usual(cls, name: str) -> Any:
        """The default of an option."""
        return cls.model_fields[name].default


def _number_kinds(field: FieldInfo) -> bool:
    """Whether the field holds numbers only: int, float, lists or optionals of them, and no bool."""
    text = str(field.annotation)
    return ("int" in text or "float" in text) and "bool" not in text and "str" not in text


def _refusable(value: object) -> object:
    """A text that Python takes for a number and people may not, as one that no parser takes for
    one: digits of another script, or an underscore that does not set thousands apart (1_0 is more
    likely to be 1.0 than 10)."""
    if not isinstance(value, str):
        return value
    odd = "_" in _THOUSANDS.sub("", value) or not value.isascii()
    return f"no number: {value}" if odd else value


def flag_of(field: FieldInfo) -> Flag:
    """The field's ``Flag``, or the plain one where it carries none."""
    return next((item for item in field.metadata if isinstance(item, Flag)), Flag())


def flags_of(options: Options) -> dict[str, Flag]:
    """The ``Flag`` of every option, by its name."""
    return {name: flag_of(field) for name, field in type(options).model_fields.items()}


def always(value: str) -> bool:
    """True, for a ``Flag`` whose every value is of that kind."""
    del value
    return True


def identity_of(options: Options) -> dict[str, object]:
    """Return the values that change what is computed, without those that only organise it."""
    flags = flags_of(options)
    return {name: value for name, value in options.model_dump().items() if flags[name].identity}
