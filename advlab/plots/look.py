"""Looks of finished figures: for a paper, for slides, on a dark ground, and of any width.

A look changes what a figure is drawn with, never what it shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.offsetbox import DrawingArea, OffsetBox, OffsetImage, PackerBase
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.ticker import MaxNLocator

from advlab.plots.style import ImageAxes, caption_width, put_caption, title_width, wrapped

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
_LEGIBLE = 0.7  # the least scale at which the texts of a figure are read on paper: labels of 7 pt
_LEGEND_SHARE = 0.9  # of a panel's column that its legend may take


def restyled(figure: Figure, style: Style, width: float | None) -> Figure:
    """Change the look of a figure in place, and return it.

    Args:
        style: ``screen`` as the run drew it; ``paper`` without title and caption, which the paper
            itself sets; ``slide`` with larger texts and lines, and of the caption only what marks
            mean; ``dark`` for a dark ground.
        width: in inches; everything is scaled with it. Where texts would become too small to read,
            panels that stand side by side are put below each other first, and texts shrink less
            than the figure, by up to a third. None leaves the width.
    """
    if style == "paper":
        figure.suptitle("")
        figure.supxlabel("")
    if style == "slide":
        put_caption(figure, str(getattr(figure, "_advlab_key", "")))
        _enlarge(figure, _SLIDE)
    if style == "dark":
        _darken(figure)
    if width is not None:
        _stack(figure, width)
        factor = width / figure.get_size_inches()[0]
        if factor < _LEGIBLE and style != "slide":
            _enlarge(figure, min(_LEGIBLE / factor, _SLIDE))
        figure.set_size_inches(*(factor * side for side in figure.get_size_inches()))
        _scale(figure, factor)
        layout = figure.get_layout_engine()
        if isinstance(layout, ConstrainedLayoutEngine):
            pads = {name: factor * layout.get()[name] for name in ("w_pad", "h_pad")}
            layout.set(**pads)
    return figure


def _fit_words(figure: Figure, scale: float) -> None:
    """Break the lines of title and caption anew, for letters that have grown by ``scale`` or a
    figure that is narrower than it was."""
    width = figure.get_size_inches()[0] / scale
    lengths = {
        figure.get_suptitle(): title_width(width),
        figure.get_supxlabel(): caption_width(width),
    }
    for artist in figure.findobj(Text):
        if isinstance(artist, Text) and artist.get_text() and artist.get_text() in lengths:
            artist.set_text(wrapped(artist.get_text(), lengths[artist.get_text()]))


def _stack(figure: Figure, width: float) -> None:
    """Put panels that stand in one row into several, as far as their texts would else be too small
    at this width; a sheet of images, or panels that share an axis, stay as they are."""
    specs = {panel: spec for panel in figure.axes if (spec := panel.get_subplotspec()) is not None}
    grids = {spec.get_gridspec() for spec in specs.values()}
    across, down = figure.get_size_inches()
    if len(grids) != 1 or any(isinstance(panel, ImageAxes) for panel in specs):
        return
    (grid,) = grids
    shared = any(
        len(panel.get_shared_x_axes().get_siblings(panel)) > 1
        or len(panel.get_shared_y_axes().get_siblings(panel)) > 1
        for panel in specs
    )
    columns = max(1, int(width / (across / grid.ncols) / _LEGIBLE))
    if grid.nrows > 1 or columns >= grid.ncols or shared:
        return
    rows = -(-grid.ncols // columns)
    figure.set_size_inches(across * columns / grid.ncols, down * rows)
    stacked = figure.add_gridspec(rows, columns)
    for place, panel in enumerate(specs):
        panel.set_subplotspec(stacked[divmod(place, columns)])
    _fit_words(figure, 1)
    _fit_legends(figure)


def _enlarge(figure: Figure, factor: float) -> None:
    """Make texts and lines larger in a figure of the same size, as far as there is room."""
    _scale(figure, factor)
    _fit_words(figure, factor)
    _fit_legends(figure)
    _fit_panel_titles(figure)
    _fit_ticks(figure)


def _column_width(figure: Figure, panel: Axes) -> float:
    """The width in pixels of the columns that a panel stands in; of the figure where it stands in
    none."""
    spec = panel.get_subplotspec()
    share = 1.0 if spec is None else len(spec.colspan) / spec.get_gridspec().ncols
    return share * float(figure.bbox.width)


def _fit_legends(figure: Figure) -> None:
    """Shrink all legends alike where one is wider than the column of its panel."""
    figure.draw_without_rendering()  # the size of a legend is known once it was laid out
    legends = [(panel, legend) for panel in figure.axes if (legend := panel.get_legend())]
    rooms = [
        _LEGEND_SHARE * _column_width(figure, panel) / legend.get_window_extent().width
        for panel, legend in legends
    ]
    if min(rooms, default=1) < 1:
        for _, legend in legends:
            _scale(legend, min(rooms))


def _fit_panel_titles(figure: Figure) -> None:
    """Shrink the titles of all panels alike where one is wider than its column."""
    titles = [(panel, panel.title) for panel in figure.axes if panel.get_title()]
    rooms = [
        _column_width(figure, panel) / (1.04 * title.get_window_extent().width)
        for panel, title in titles
    ]
    if min(rooms, default=1) < 1:
        for _, title in titles:
            title.set_fontsize(min(rooms) * float(title.get_fontsize()))


def _fit_ticks(figure: Figure) -> None:
    """Have fewer ticks where the numbers at them would touch."""
    for fewer in (6, 5, 4, 3):
        figure.draw_without_rendering()
        crowded = [panel.xaxis for panel in figure.axes if _touching(panel.xaxis)]
        for axis in crowded:
            locator = axis.get_major_locator()
            if isinstance(locator, MaxNLocator):
                locator.set_params(nbins=fewer)
        if not crowded:
            return


def _touching(axis: Axis) -> bool:
    """Whether numbers beside each other on a horizontal axis stand less than a digit apart."""
    labels = [one for one in axis.get_ticklabels() if one.get_visible() and one.get_text()]
    boxes = sorted((one.get_window_extent() for one in labels), key=lambda box: float(box.x0))
    return any(
        other.x0 - one.x1 < 0.4 * one.height
        for one, other in itertools.pairwise(boxes)
        if other.x1 > one.x1
    )


def _scale(drawn: Artist, factor: float) -> None:
    """Scale texts, lines and markers, and the distances that are kept in points."""
    for artist in drawn.findobj():
        if isinstance(artist, Text):
            artist.set_fontsize(factor * float(artist.get_fontsize()))
            if isinstance(artist, Annotation) and artist.anncoords == "offset points":
                across, up = artist.xyann
                artist.xyann = (factor * across, factor * up)
        elif isinstance(artist, Line2D):
            artist.set_linewidth(factor * artist.get_linewidth())
            artist.set_markersize(factor * artist.get_markersize())
        elif isinstance(artist, Collection):
            widths: Any = artist.get_linewidth()
            artist.set_linewidth([factor * one for one in widths])
        elif isinstance(artist, Patch):
            artist.set_linewidth(factor * artist.get_linewidth())
        elif isinstance(artist, OffsetBox):
            _scale_box(artist, factor)
        elif isinstance(artist, Legend):
            artist.borderaxespad *= factor
        elif isinstance(artist, Axis):
            _scale_axis(artist, factor)


def _scale_box(box: OffsetBox, factor: float) -> None:
    """Scale a part of a legend, or an image at a place of a panel."""
    if isinstance(box, OffsetImage):
        box.set_zoom(factor * box.get_zoom())
    elif isinstance(box, PackerBase):
        box.pad = None if box.pad is None else factor * box.pad
        box.sep = None if box.sep is None else factor * box.sep
    elif isinstance(box, DrawingArea):
        box.width, box.height = factor * box.width, factor * box.height
        box.xdescent, box.ydescent = factor * box.xdescent, factor * box.ydescent
        for handle in box.get_children():
            if isinstance(handle, Line2D):
                xs, ys = handle.get_data()
                handle.set_data(factor * np.asarray(xs), factor * np.asarray(ys))
            elif isinstance(handle, Rectangle):
                handle.set_bounds(*(factor * side for side in handle.get_bbox().bounds))
            elif isinstance(handle, Collection):
                handle.set_offsets(factor * np.asarray(handle.get_offsets()))


def _scale_axis(axis: Axis, factor: float) -> None:
    """Scale the distances of ticks and labels, as far as there are any."""
    axis.labelpad *= factor
    own = axis.get_tick_params()
    usual = {
        "length": mpl.rcParams["xtick.major.size"],
        "width": mpl.rcParams["xtick.major.width"],
        "pad": mpl.rcParams["xtick.major.pad"],
    }
    axis.set_tick_params(**{name: factor * own.get(name, value) for name, value in usual.items()})


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
