"""Validation errors as one line: where, which value was given, and what is allowed."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from advlab.components import suggestion
from advlab.config.base import Options, flag_of

_COMPARISONS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def explain(
    error: ValidationError,
    kind: type[Options],
    where: Callable[[str], str],
    values: Mapping[str, Any],
) -> str:
    """The first of the errors, told to a person.

    Args:
        values: the options' values as they were given: what is refused is shown as it was written.
        where: from an option's name to the place that its value came from (``--lr``, ``file.yaml:7:
            lr``).
    """
    first = error.errors(include_url=False)[0]
    if not first["loc"]:  # several options together; the one at fault is named in the context
        return f"{where(first['ctx']['option'])}: {first['msg']}"
    name = str(first["loc"][0])
    refused = as_written(_as_typed(first, values))
    known = choices(kind.model_fields[name])
    if name == "norm" and len(known) == 1 and first["type"] == "literal_error":
        component = kind.__module__.rpartition(".")[2]
        return f"{where(name)}: {component} measures in {known[0]} only, not {refused}"
    requirement = _requirement(first, kind.model_fields[name])
    return f"{where(name)}: {requirement}, not {refused}{_hint(first)}"


def _as_typed(error: Any, values: Mapping[str, Any]) -> Any:
    """The refused value as it was written, such as '-8/255' and not the float that it stands
    for."""
    try:
        return functools.reduce(operator.getitem, error["loc"], values)
    except (KeyError, IndexError, TypeError):
        return error["input"]


def _requirement(error: Any, field: FieldInfo) -> str:
    problem, context = error["type"], error.get("ctx", {})
    if problem in _COMPARISONS:
        words, key = _COMPARISONS[problem]
        return (
            f"must be {words} {context[key]:g}"
            if isinstance(context[key], float)
            else f"must be {words} {context[key]:,}"
        )
    if problem in ("int_parsing", "int_type", "int_from_float", "int_parsing_size"):
        return "must be a whole number"
    if problem in ("float_parsing", "float_type"):
        return "must be a number"
    if problem == "finite_number":
        return "must be a finite number"
    if problem in ("bool_parsing", "bool_type"):
        return "must be true or false"
    if problem == "literal_error":
        known = choices(field)
        return f"must be one of {', '.join(known)}{suggestion(str(error['input']), known)}"
    if problem == "string_pattern_mismatch":
        return f"must be {flag_of(field).form or 'of another form'}"
    if problem == "string_type":
        return "must be text"
    if problem == "string_too_short":
        return "must not be empty"
    if problem == "too_short":
        least = context["min_length"]
        return f"needs at least {'one value' if least == 1 else f'{least} values'}"
    if problem == "too_long":
        return f"takes at most {context['max_length']} values"
    message: str = error["msg"]
    return message[0].lower() + message[1:]


def _hint(error: Any) -> str:
    """Return a hint for a number that was written in a form that is not accepted here, such as
    8/255 or 0.1,0.2."""
    text = error["input"]
    if error["type"] not in ("int_parsing", "float_parsing") or not isinstance(text, str):
        return ""
    if ".." in text:
        return " (a range is LOW..HIGH, stands alone, and goes with --search)"
    ratio = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*/\s*(\d{1,9})\s*", text)
    if ratio and int(ratio[2]):
        return f" (as a number, {float(ratio[1]) / int(ratio[2]):.7g})"
    return (
        " (several values are set apart by spaces)"
        if re.fullmatch(r"[-+.\deE]+(,[-+.\deE]+)+,?", text)
        else ""
    )


def choices(field: FieldInfo) -> list[str]:
    """The words that the field may hold; empty where it is not a choice between words."""
    return list(_words_in(field.annotation))


def _words_in(annotation: Any) -> Iterator[str]:
    """The words of a Literal, however deep it stands in lists and optionals."""
    for item in get_args(annotation):
        if isinstance(item, str):
            yield item
        else:
            yield from _words_in(item)


def bounds(field: FieldInfo) -> str:
    """The field's range for a help text, such as ``> 0, ≤ 100``; empty where it has none."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    limits = []
    for item in field.metadata:
        for key, symbol in signs.items():
            limit = getattr(item, key, None)
            if limit is not None and abs(limit) < 1e6 and limit != 2**31:
                limits.append(f"{symbol} {limit:g}")
    return ", ".join(limits)


def as_written(value: Any) -> str:
    """A value as a configuration would hold it, cut where it is long."""
    text = (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else repr(value)
    )
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= 60 else f"{text[:57]}..."
