"""Tables for the terminal and for Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

_END = 1e-9  # a fraction of images that is nearer to 0 or 1 is one of rounding


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads as well in a terminal; columns of figures are flush
    right."""
    cells = [[_cell(text) for text in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    figures = _columns_of_figures(header, rows)
    lines = [
        "| "
        + " | ".join(
            _pad(text, width, right)
            for text, width, right in zip(row, widths, figures, strict=True)
        )
        + " |"
        for row in cells
    ]
    rule = (
        "|"
        + "|".join(
            "-" * (width + 1) + (":" if right else "-")
            for width, right in zip(widths, figures, strict=True)
        )
        + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(text: str) -> str:
    """A text that ends no cell and no row of a Markdown table."""
    return " ".join(text.splitlines()).replace("|", "\\|")


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as a percentage, as ``in_percent`` writes it."""
    return f"{in_percent(fraction)} %"


def in_percent(fraction: float, places: int = 2) -> str:
    """A fraction times 100.

    What is not 0 or 1 is not written as if it were: one error in 30,000 makes 99.997, and not
    100.00. A negative fraction that is rounded to 0 has no sign.

    Args:
        places: after the point, where the figure needs no more.
    """
    inside = _END < fraction < 1 - _END
    while True:
        rounded = round(100 * fraction, places) + 0.0
        if not inside or rounded not in (0.0, 100.0):
            return f"{rounded:.{places}f}"
        places += 1


def spread(fractions: Sequence[float]) -> str:
    """Mean ± sample standard deviation of fractions, in percent; the deviation needs two."""
    if len(fractions) < 2:
        return percent(fractions[0])
    return f"{in_percent(mean(fractions))} ± {100 * stdev(fractions):.2f} %"


def points(differences: Sequence[float]) -> str:
    """The same of differences between fractions, in percentage points with their sign."""
    centre = f"{100 * mean(differences):+.2f}"
    return f"{centre} ± {100 * stdev(differences):.2f}" if len(differences) > 1 else centre


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _columns_of_figures(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[bool]:
    """For each column whether it holds figures only, which are flush right."""
    return [
        bool(rows) and all(_is_figure(row[column]) for row in rows) for column in range(len(header))
    ]


def _is_figure(text: str) -> bool:
    signed = text[:1] == "+" and text[1:2].isdigit()
    return text[:1].isdigit() or signed or text[:1] in "-–" or text == ""


def describe(summaries: Mapping[str, str], width: int | None = None) -> str:
    """Names and what they are, one to a line, for a help text or a listing.

    Args:
        width: of a terminal, in characters: a longer line goes on under its beginning. None for
            lines of any length.
    """
    column = max((len(name) for name in summaries), default=0)
    lines = [f"  {name.ljust(column)}  {summary}" for name, summary in summaries.items()]
    if width is None or width < column + 30:
        return "\n".join(lines)
    hang = " " * (column + 4)
    return "\n".join(textwrap.fill(line, width, subsequent_indent=hang) for line in lines)


def seconds_text(seconds: float) -> str:
    """``12``, and ``0.3`` of short times, without a unit."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def counted(number: int, thing: str) -> str:
    """``1 image``, ``2,000 images``."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def latex(header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A LaTeX ``tabular`` that uses the booktabs package; columns of figures are flush right.

    Args:
        notes: sentences that stand under the rows, over all columns.
    """
    under = [
        rf"\multicolumn{{{len(header)}}}{{p{{\linewidth}}}}{{{_escaped(note)}}} \\"
        for note in notes
    ]
    columns = "".join("r" if right else "l" for right in _columns_of_figures(header, rows))
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (header, *rows)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            *([r"\midrule", *under] if under else []),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "…": r"\ldots{}",
    "ε": r"$\varepsilon$",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "σ": r"$\sigma$",
    "α": r"$\alpha$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "×": r"$\times$",
}


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
