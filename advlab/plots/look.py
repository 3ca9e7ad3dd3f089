"""Looks of finished figures: for a paper, for slides, on a dark ground, and of any width.

A look changes what a figure is drawn with, never what it shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

Style = Literal["screen", "paper", "slide", "dark"]

_GROUND, _INK, _GRID = "#15171c", "#f0f0f0", "#3a3d44"
# What is dark on white becomes light on the dark ground; the colours of the data stay, but for
# black, which no longer shows.
_ON_DARK = {
    "#000000": _INK,
    "#0072b2": "#56a8e0",
    "#6b6b6b": "#b4b4b4",
    "#e4e4e4": _GRID,
    "#ffffff": _GROUND,
}
_SLIDE = 1.35  # how much larger texts and lines are on a slide


def restyled(figure: Figure, style: Style, width: float | None) -> Figure:
    """Change the look of a figure in place, and return it.

    Args:
        style: ``screen`` as the run drew it; ``paper`` without title and caption, which the paper
            itself sets; ``slide`` with larger texts and lines; ``dark`` for a dark ground.
        width: in inches; everything is scaled with it. None leaves the width.
    """
    if style == "paper":
        figure.suptitle("")
        figure.supxlabel("")
    if style == "slide":
        figure.supxlabel("")
        _scale(figure, _SLIDE)
    if style == "dark":
        _darken(figure)
    if width is not None:
        factor = width / figure.get_size_inches()[0]
        figure.set_size_inches(*(factor * side for side in figure.get_size_inches()))
        _scale(figure, factor)
    return figure


def _scale(figure: Figure, factor: float) -> None:
    """Scale texts, lines and markers."""
    for artist in figure.findobj():
        if isinstance(artist, Text):
            artist.set_fontsize(factor * float(artist.get_fontsize()))
        elif isinstance(artist, Line2D):
            artist.set_linewidth(factor * artist.get_linewidth())
            artist.set_markersize(factor * artist.get_markersize())
        elif isinstance(artist, Collection):
            widths: Any = artist.get_linewidth()
            artist.set_linewidth([factor * one for one in widths])
        elif isinstance(artist, Patch):
            artist.set_linewidth(factor * artist.get_linewidth())


def _darken(figure: Figure) -> None:
    figure.set_facecolor(_GROUND)
    inside = {id(text) for panel in figure.axes for text in _texts_on_colours(panel)}
    for panel in figure.axes:
        panel.set_facecolor(_GROUND)
        panel.tick_params(colors=_ON_DARK["#6b6b6b"])
    for artist in figure.findobj():
        if id(artist) not in inside:
            _recolour(artist)


def _texts_on_colours(panel: Axes) -> Iterator[Artist]:
    """Texts that stand on images or coloured cells, and were coloured to be read there."""
    if panel.images or panel.collections:
        yield from panel.texts


def _recolour(artist: Artist) -> None:
    if isinstance(artist, Text):
        artist.set_color(_on_dark(artist.get_color()))
    elif isinstance(artist, Line2D):
        artist.set_color(_on_dark(artist.get_color()))
        artist.set_markerfacecolor(_on_dark(artist.get_markerfacecolor()))
        artist.set_markeredgecolor(_on_dark(artist.get_markeredgecolor()))
    elif isinstance(artist, Patch):
        edge, face = artist.get_edgecolor(), artist.get_facecolor()
        artist.set_edgecolor(_on_dark(edge))
        artist.set_facecolor(_on_dark(face))
    elif isinstance(artist, Collection) and artist.get_array() is None:
        edges: Any = artist.get_edgecolor()
        faces: Any = artist.get_facecolor()
        artist.set_edgecolor([_on_dark(tuple(one)) for one in edges])
        artist.set_facecolor([_on_dark(tuple(one)) for one in faces])


def _on_dark(colour: Any) -> Any:
    """The colour on a dark ground; whatever is no colour of the style stays."""
    try:
        rgb = to_hex(colour)
        alpha = to_hex(colour, keep_alpha=True)[7:]
    except ValueError:
        return colour
    return _ON_DARK[rgb] + alpha if rgb in _ON_DARK else colour
