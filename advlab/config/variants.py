"""The ``variants`` of a configuration file: sets of values that override the file's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advlab.config.explain import as_written
from advlab.config.former import present_name
from advlab.config.yamlfile import Document
from advlab.errors import UsageError


@dataclass(frozen=True)
class Variant:
    """One entry of a file's ``variants``: values laid over the file's own."""

    label: str
    values: Mapping[str, Any]
    lines: Mapping[str, int]


def variants_of(file: Document) -> list[Variant]:
    """The file's variants, in their order; a single empty one where it has none.

    Raises:
        UsageError: they are no list of mappings, or hold what belongs at the top of the file.
    """
    entries = file.values.get("variants")
    if "variants" not in file.values:
        return [Variant("", {}, {})]
    if (
        not isinstance(entries, list)
        or not entries
        or not all(isinstance(entry, dict) for entry in entries)
    ):
        raise UsageError(
            f"{file.where('variants')}: must be a list of mappings such as '- {{label: A, lr: "
            f"0.01}}', one for each variant"
        )
    lines: Sequence[dict[str, int]] = file.variant_lines or [{} for _ in entries]
    return [
        _variant(entry, its_lines, file) for entry, its_lines in zip(entries, lines, strict=True)
    ]


def _variant(entry: Mapping[str, Any], lines: Mapping[str, int], file: Document) -> Variant:
    values = {present_name(str(key)): value for key, value in entry.items()}
    label = values.pop("label", "")
    variant = Variant(str(label).strip(), values, lines)
    if isinstance(label, bool) or not isinstance(label, (str, int, float)):
        raise UsageError(
            f"{place_in(file, variant, 'label')}: must be text, not {as_written(label)}"
        )
    for key in ("command", "name", "variants"):
        if key in values:
            raise UsageError(
                f"{place_in(file, variant, key)}: belongs at the top of the file, not to one "
                "variant"
            )
    return variant


def place_in(file: Document, variant: Variant, key: str) -> str:
    """``file.yaml:7: variants: key``."""
    line = f":{variant.lines[key]}" if key in variant.lines else ""
    return f"{file.path}{line}: variants: {key}"
