"""Texts before and after an attack, side by side, as a table and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from advlab.runs.files import write_text
from advlab.runs.table import percent, table

_MOST = 24
_HEAD = ("no.", "true class", "predicted", "probability", "original", "perturbed")
_STYLE = """
  :root { color-scheme: light dark; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; }
  body { padding: 0 1rem; }
  table { border-collapse: collapse; }
  th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; }
  th, td { border-bottom: 1px solid #8884; }
  del { color: #D55E00; } ins { color: #0072B2; font-weight: bold; text-decoration: none; }
  footer { margin-top: 2rem; font-size: .85rem; opacity: .8; }
"""


@dataclass(frozen=True)
class Example:
    """A text that an attack broke.

    Attributes:
        number: of the test text.
        label: its true class.
        predicted: the class that it is taken for after the attack, and its ``probability``.
        original, perturbed: its words, as many before as after.
    """

    number: int
    label: str
    predicted: str
    probability: float
    original: Sequence[str]
    perturbed: Sequence[str]


def write(folder: Path, examples: Sequence[Example], title: str, caption: str) -> None:
    """Write ``examples.md`` and ``examples.html``: the first of the examples, with changed words
    marked."""
    selected = examples[:_MOST]
    note = f"The first {len(selected):,} of {len(examples):,} broken texts. {caption}"
    rows = [
        [*_facts(one), *(_in_cell(text) for text in _marked(one, "**{}**", "**{}**"))]
        for one in selected
    ]
    write_text(folder / "examples.md", f"{table(_HEAD, rows)}\n\n{note}\n")
    write_text(folder / "examples.html", _page(selected, title, note))


def _facts(one: Example) -> list[str]:
    return [str(one.number), _in_cell(one.label), _in_cell(one.predicted), percent(one.probability)]


def _marked(one: Example, before: str, after: str) -> tuple[str, str]:
    """Both texts, with the changed words put into these forms."""
    pairs = list(zip(one.original, one.perturbed, strict=True))
    original = " ".join(before.format(a) if a != b else a for a, b in pairs)
    perturbed = " ".join(after.format(b) if a != b else b for a, b in pairs)
    return original, perturbed


def _in_cell(text: str) -> str:
    """A text for a cell of a Markdown table."""
    return text.replace("|", "/")


def _page(examples: Sequence[Example], title: str, note: str) -> str:
    head = "".join(f"<th>{escape(word)}</th>" for word in _HEAD)
    body = "\n".join(_row(one) for one in examples)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<table>
<tr>{head}</tr>
{body}
</table>
<footer>{escape(note)}</footer>
</body>
</html>
"""


def _row(one: Example) -> str:
    facts = [str(one.number), one.label, one.predicted, percent(one.probability)]
    cells = [f"<td>{escape(text)}</td>" for text in facts]
    safe = Example(
        one.number,
        one.label,
        one.predicted,
        one.probability,
        [escape(word) for word in one.original],
        [escape(word) for word in one.perturbed],
    )
    cells += [f"<td>{text}</td>" for text in _marked(safe, "<del>{}</del>", "<ins>{}</ins>")]
    return f"<tr>{''.join(cells)}</tr>"
