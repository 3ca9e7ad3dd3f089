"""Pictures that are put together and saved blank: laying out and painting is two thirds of what a
small run costs."""

from __future__ import annotations

import functools
import io
from typing import Any, BinaryIO

import numpy as np
from matplotlib import axis
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

_savefig = Figure.savefig
_subplots = Figure.subplots
_first_ticks = axis._LazyTickList.__get__
_set_ticks = axis.Axis.set_ticks


def paint_blank(blank: bool = True) -> None:
    """Whether ``Figure.savefig`` writes, from now on, blank files of the right size, with their
    metadata.

    Axes of such pictures make their ticks where something asks for them, as painting would, and not
    two for each at once nor those that are set, which are half of what axes cost. All images of a
    sheet are put on the same axes: those of its own for each of 24 mistakes took a third of a small
    training.
    """
    subplots: Any = _one_for_all if blank else _subplots
    Figure.subplots = subplots  # type: ignore[method-assign]
    Figure.savefig = _blank if blank else _savefig  # type: ignore[assignment, method-assign]
    made = _no_ticks_yet if blank else _first_ticks
    axis._LazyTickList.__get__ = made  # type: ignore[assignment, method-assign]
    placed: Any = _places_alone if blank else _set_ticks
    axis.Axis.set_ticks = placed  # type: ignore[method-assign]


def put_nothing_together() -> None:
    """Functions of ``advlab.plots`` that are imported from now on return empty figures, with the
    record of what they were given.

    For processes that are there to be killed: what makes a figure is half of what their runs cost,
    and the tests of the commands see to it.
    """
    from advlab.plots import style
    from advlab.plots.record import Drawing, recorded

    def empty(function: Drawing) -> Drawing:
        blank: Any = functools.wraps(function)(lambda *given, **options: Figure())
        drawn: Drawing = recorded(blank)
        return drawn

    style.drawing = empty


def _one_for_all(figure: Figure, rows: int = 1, columns: int = 1, **options: Any) -> Any:
    """As ``Figure.subplots``; of axes for images an array that holds the same ones everywhere."""
    kind = options.get("subplot_kw") or {}
    if "axes_class" not in kind:
        return _subplots(figure, rows, columns, **options)
    panels = np.empty((rows, columns), dtype=object)
    panels[:] = figure.add_subplot(**kind)
    return panels


def _no_ticks_yet(ticks: Any, instance: Any, owner: type) -> Any:
    """The list of an axis that has no ticks yet: empty, and kept, so that ticks may join it."""
    if instance is None:
        return ticks
    made: list[Any] = []
    setattr(instance, "majorTicks" if ticks._major else "minorTicks", made)
    return made


def _places_alone(self: axis.Axis, *places: Any, **options: Any) -> None:
    """As ``Axis.set_ticks``, which notes where ticks go and what is written beside them; each of
    the ticks that it makes at once is three lines and two texts."""
    none: Any = {name: lambda count=None: [] for name in ("get_major_ticks", "get_minor_ticks")}
    vars(self).update(none)
    try:
        _set_ticks(self, *places, **options)
    finally:
        for name in none:
            del vars(self)[name]


def _blank(figure: Figure, file: BinaryIO, *, format: str, metadata: dict[str, str]) -> None:
    size = figure.get_figwidth(), figure.get_figheight()
    file.write(_white(size, figure.dpi, format, tuple(metadata.items())))


@functools.cache
def _white(
    size: tuple[float, float], dpi: float, format: str, metadata: tuple[tuple[str, str], ...]
) -> bytes:
    """A blank file of this size in inches; the same for all figures of one kind."""
    file = io.BytesIO()
    if format != "png":
        _savefig(Figure(figsize=size), file, format=format, metadata=dict(metadata))
        return file.getvalue()
    width, height = (round(inches * dpi) for inches in size)
    words = PngInfo()
    for key, value in metadata:
        words.add_text(key, value)
    Image.new("L", (width, height), 255).save(file, format=format, pnginfo=words, compress_level=1)
    return file.getvalue()
