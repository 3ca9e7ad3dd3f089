"""Heat maps of grids over several options."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from advlab.config.resolve import Config, Plan
from advlab.plots.heat import heat
from advlab.plots.style import save
from advlab.runs.results import Headline

_IDLE = "–"


def heat_map(
    plan: Plan,
    values: Sequence[tuple[Config, float]],
    headline: Headline,
    title: str,
    caption: str,
    folder: Path,
    ranked: bool,
    chosen: tuple[Headline, Sequence[float]] | None = None,
) -> None:
    """Draw ``heatmap.png`` where two options or more were varied beside networks, variants and
    seeds; else nothing.

    Args:
        values: the figure of each finished run; runs that differ in nothing but their seed are
            averaged.
        ranked: whether the figures compare, so that the best cells are framed.
        chosen: the figure that settings are chosen by, and its value of each run; the best cells
            are then the best ones by this figure.
    """
    options = type(plan.cells[0].options).model_fields
    varied = [
        name for name in plan.axes if name in options and name not in ("seed", plan.command.kind)
    ]
    if len(varied) < 2:
        return
    half = (len(varied) + 1) // 2
    cells = [cell for cell, _ in values]
    down, along = _places(plan, varied[:half], cells), _places(plan, varied[half:], cells)

    def means(figures: Sequence[float]) -> dict[str, NDArray[np.float64]]:
        """The mean figure of each place, by component; NaN where there is none."""
        at: dict[tuple[str, int, int], list[float]] = {}
        for cell, figure in zip(cells, figures, strict=True):
            row = down.index(_values(cell, varied[:half]))
            column = along.index(_values(cell, varied[half:]))
            at.setdefault((cell.component, row, column), []).append(figure)
        tables = {cell.component: np.full((len(down), len(along)), np.nan) for cell in cells}
        for (name, row, column), several in at.items():
            tables[name][row, column] = mean(several)
        return tables

    tables = means([value for _, value in values])
    by, judged = (headline, tables) if chosen is None else (chosen[0], means(chosen[1]))
    if ranked:
        end = "lowest" if by.lower_is_better else "highest"
        caption += f" · framed: the {end} {by.words}"
    drawn = heat(
        tables,
        down,
        along,
        title,
        caption,
        quantity=headline.words,
        percent=headline.fraction,
        lower=by.lower_is_better,
        ranked=ranked,
        judged=judged,
    )
    save(drawn, folder / "heatmap.png")


def _places(plan: Plan, names: Sequence[str], cells: Sequence[Config]) -> list[str]:
    """The combinations of values in the order of the grid, those of some cell alone where others
    have no use for an option."""
    values = [
        [*plan.axes[name], *[_IDLE] * any(_value(cell, name) == _IDLE for cell in cells)]
        for name in names
    ]
    every = [
        "\n".join(map(_named, names, combination)) for combination in itertools.product(*values)
    ]
    present = {_values(cell, names) for cell in cells}
    idle = any(_IDLE in of_name for of_name in values)
    return [place for place in every if place in present or not idle]


def _values(cell: Config, names: Sequence[str]) -> str:
    return "\n".join(_named(name, _value(cell, name)) for name in names)


def _value(cell: Config, name: str) -> object:
    """The value of an option in a cell; a dash where the cell has no use for it."""
    return getattr(cell.options, name) if cell.options.has_use_for(name) else _IDLE


def _named(name: str, value: object) -> str:
    return f"{name.replace('_', ' ')} {value}"
