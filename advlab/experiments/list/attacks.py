"""The attacks as a table: what each may change and see, its default budget, paper and reference."""

from __future__ import annotations

import re
from typing import Any, get_args

from advlab.components import load_component
from advlab.config.options.run import AttackOptions, ImageAttackOptions
from advlab.config.radii import norm_name
from advlab.config.registry import command_named
from advlab.runs.table import counted, table

_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
_BUDGETS = {"queries": "query", "steps": "step", "tries": "try"}
_PLURALS = {"query": "queries", "try": "tries"}


def as_table() -> str:
    """A row for each attack on images, then for each on texts."""
    command = command_named("attack")
    rows = [_row(name) for name in sorted(command.components(), key=_place)]
    head = ["attack", "may change", "sees", "target", "default budget", "arXiv", "checked against"]
    return table(head, rows)


def _place(name: str) -> tuple[bool, bool, str]:
    kind = _module(name).Options
    return not issubclass(kind, ImageAttackOptions), not issubclass(kind, AttackOptions), name


def _module(name: str) -> Any:
    return load_component("advlab.attacks", name, "attack")


def _row(name: str) -> list[str]:
    module = _module(name)
    kind = module.Options
    papers = _ARXIV.findall(module.__doc__ or "")
    return [
        name,
        _changes(kind),
        kind.sees,
        "yes" if "target" in kind.model_fields else "no",
        _budget(kind),
        papers[0] if papers else "–",
        kind.checked_against,
    ]


def _changes(kind: Any) -> str:
    """The norms of the ball, or what may be done to an image in no ball."""
    fields = kind.model_fields
    if not issubclass(kind, ImageAttackOptions):
        return "words"
    if "norm" in fields:
        norms = [norm_name(norm) for norm in get_args(fields["norm"].annotation)]
        return ", ".join(norms) + ("" if issubclass(kind, AttackOptions) else " of a patch")
    if "p" in fields:
        return "Lp, p ≥ 1"
    return str(kind().threat.kind)


def _budget(kind: Any) -> str:
    """The default number of queries, or else of steps."""
    for name, one in _BUDGETS.items():
        field = kind.model_fields.get(name)
        if field is not None and isinstance(field.default, int):
            count = int(field.default)
            return counted(count, one) if one not in _PLURALS else f"{count:,} {_PLURALS[one]}"
    return "1 step" if kind is _module("fgsm").Options else "–"
