"""A validation error as one line: where, what was given, what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from advlab import names
from advlab.config.base import Options

_COMPARISONS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def explain(error: ValidationError, kind: type[Options], where: Callable[[str], str]) -> str:
    """The first of the errors, told to a person.

    Args:
        where: from an option's name to the place that its value came from (``--lr``, ``file.yaml:7: lr``).
    """
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    return f"{where(name)}: {_wanted(first, kind.model_fields[name])}, not {_shown(first['input'])}"


def _wanted(error: Any, field: FieldInfo) -> str:
    problem, context = error["type"], error.get("ctx", {})
    if problem in _COMPARISONS:
        words, key = _COMPARISONS[problem]
        return f"must be {words} {context[key]:g}" if isinstance(context[key], float) else f"must be {words} {context[key]:,}"
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
        return f"must be one of {', '.join(known)}{names.suggestion(str(error['input']), known)}"
    if problem == "string_pattern_mismatch":
        return f"must be {field.description}" if "auto" in str(field.description) else "must be made of letters, digits and . _ + = -"
    if problem in ("string_type", "string_too_short"):
        return "must be text"
    if problem in ("too_short", "too_long"):
        return f"must have {context.get('min_length', 0)} to {context.get('max_length', 'any number of')} values"
    message: str = error["msg"]
    return message[0].lower() + message[1:]


def choices(field: FieldInfo) -> list[str]:
    """The words that the field may hold; empty where it is not a choice between words."""
    return [item for item in get_args(field.annotation) if isinstance(item, str)]


def bounds(field: FieldInfo) -> str:
    """The field's range for a help text, such as ``> 0, ≤ 100``; empty where it has none."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = []
    for item in field.metadata:
        for key, sign in signs.items():
            limit = getattr(item, key, None)
            if limit is not None and abs(limit) < 1e6 and limit != 2**31:
                found.append(f"{sign} {limit:g}")
    return ", ".join(found)


def _shown(value: Any) -> str:
    text = repr(value)
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= 60 else f"{text[:57]}..."
