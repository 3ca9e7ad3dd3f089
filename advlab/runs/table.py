"""Tables for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads as well in a terminal; columns of figures are flush
    right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    figures = [
        all(_is_figure(row[column]) for row in rows) and bool(rows) for column in range(len(header))
    ]
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


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as a percentage to two places."""
    return f"{in_percent(fraction)} %"


def in_percent(fraction: float) -> str:
    """A fraction times 100, to two places; a small negative one is not ``-0.00``."""
    return f"{round(100 * fraction, 2) + 0.0:.2f}"


def spread(fractions: Sequence[float]) -> str:
    """Mean ± sample standard deviation of fractions, in percent; the deviation needs two."""
    if len(fractions) < 2:
        return percent(fractions[0])
    return f"{in_percent(mean(fractions))} ± {in_percent(stdev(fractions))} %"


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _is_figure(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "-–" or text == ""


def describe(summaries: Mapping[str, str]) -> str:
    """Names and what they are, one to a line, for a help text or a listing."""
    width = max((len(name) for name in summaries), default=0)
    return "\n".join(f"  {name.ljust(width)}  {summary}" for name, summary in summaries.items())


def seconds_text(seconds: float) -> str:
    """``12``, and ``0.3`` of short times, without a unit."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def counted(number: int, thing: str) -> str:
    """``1 image``, ``2,000 images``."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A LaTeX ``tabular`` that uses the booktabs package."""
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (header, *rows)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * len(header)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
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
