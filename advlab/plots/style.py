"""The style of all figures: colour-blind safe colours, a title, and a caption with the settings."""

from __future__ import annotations

import contextlib
import io
import math
import re
import textwrap
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from advlab.config.radii import norm_name
from advlab.plots import record
from advlab.plots.record import Drawing
from advlab.runs.files import write_atomically

# Okabe and Ito's palette, reordered so that the first two differ most in lightness as well.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
# Ten classes are common: two more, dark, and light grey for black, which frames no black image.
CLASS_COLOURS = (
    *("#aaaaaa" if colour == "#000000" else colour for colour in COLOURS),
    *("#882255", "#999933"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL = "cividis"
COUNTS = "Blues"  # from white for none to dark for many
DIVERGING = "RdBu_r"
GREY = "#6b6b6b"

# Of a logarithmic axis: ticks in each decade, and how many there is room for.
_DIGITS = {"x": ((1, 2, 5), (1, 3), (1,)), "y": ((1, 2, 5), (1,))}
_MOST_TICKS = {"x": 5, "y": 15}
_FEWEST_TICKS = {"x": 2, "y": 3}
_EVEN_TICKS = {"x": 4, "y": 6}

_BETWEEN_ROWS = 0.08  # inches, twice as much as usual: a title touches no title of a panel
_JOINED = re.compile(r"\S+ [=≤≥<>±×] \S+|\d %")

_SETTINGS: Any = {
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "font.size": 9.5,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "pdf.fonttype": 42,  # text that a PDF's reader can search
    "svg.hashsalt": "advlab",
    "xtick.color": GREY,
    "ytick.color": GREY,
}
# The backend is no matter of looks, and setting it would load one.
_STYLE: Any = {
    key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")
} | _SETTINGS
_applied = ContextVar("_applied", default=False)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Apply the style of all figures, as a context or a decorator; a user's own matplotlibrc is
    ignored.

    Within itself it changes nothing: whoever wants other settings for a figure sets them on the
    figure.
    """
    if _applied.get():
        yield
        return
    with mpl.rc_context():
        # Matplotlib checks each value that is set; most have their default already.
        different = {key: value for key, value in _STYLE.items() if mpl.rcParams[key] != value}
        mpl.rcParams.update(different)
        token = _applied.set(True)
        try:
            yield
        finally:
            _applied.reset(token)


def drawing(function: Drawing) -> Drawing:
    """Decorate a function that draws a figure: it draws in the common style, and the figure keeps a
    record of its arguments."""
    return record.recorded(styled()(function))


class _Canvas(FigureCanvasAgg):
    """A canvas that goes through a figure once where it saves it as PNG.

    Matplotlib goes through it twice, the first time for the layout alone. Laying it out takes no
    more than the sizes of what it holds.
    """

    def print_figure(self, *arguments: Any, **options: Any) -> Any:
        """As of ``FigureCanvasAgg``."""
        layout = self.figure.get_layout_engine()
        if options.get("format") != "png" or layout is None or not self.figure.axes:
            return super().print_figure(*arguments, **options)
        layout.execute(self.figure)
        self.figure.set_layout_engine(None)
        try:
            return super().print_figure(*arguments, **options)
        finally:
            self.figure.set_layout_engine(layout)


def figure(width: float, height: float, title: str, caption: str, key: str = "") -> Figure:
    """An empty figure of this size in inches, with its title above and its caption, small and grey,
    below.

    Args:
        key: what its marks mean, without which it cannot be read; it stands before the caption, and
            is left where a look takes the caption away.
    """
    caption = " · ".join(filter(None, [key, caption]))
    with styled():
        layout = ConstrainedLayoutEngine(h_pad=_BETWEEN_ROWS)
        drawn = Figure(figsize=(width, height), layout=layout, dpi=130)
    _Canvas(drawn)
    drawn.suptitle(wrapped(title, title_width(width)), fontsize=12, fontweight="bold")
    put_caption(drawn, caption)
    drawn._advlab_key = key  # type: ignore[attr-defined]
    return drawn


def put_caption(drawn: Figure, words: str) -> None:
    """Put a caption, small and grey, below a figure in place of the one that it has."""
    wide = caption_width(float(drawn.get_size_inches()[0]))
    drawn.supxlabel(wrapped(words, wide), fontsize=7.5, color=GREY)


def title_width(width: float) -> int:
    """How many characters of a title fit in a figure of this width in inches."""
    return max(20, int(9.5 * width))


def caption_width(width: float) -> int:
    """How many characters of a caption fit in a line of a figure of this width in inches."""
    return max(30, int(17 * width))


def wrapped(text: str, width: int) -> str:
    """A text in lines of at most ``width`` characters, that parts no number from its sign or unit.

    So "σ = 0.25" and "5 %" stay on one line.
    """
    joined = _JOINED.sub(lambda match: match[0].replace(" ", "\u00a0"), text)
    return "\n".join(textwrap.wrap(joined, width)).replace("\u00a0", " ")


def in_lines(text: str, width: int) -> str:
    """A text of several lines, each of which is wrapped."""
    return "\n".join(wrapped(line, width) for line in text.split("\n"))


def axes(drawn: Figure, rows: int = 1, columns: int = 1, **options: Any) -> Any:
    """Axes in the common style: an array (rows, columns), always two-dimensional."""
    with styled():
        return drawn.subplots(rows, columns, squeeze=False, **options)


class _XAxis(XAxis):
    """A horizontal axis that makes no ticks.

    Matplotlib makes two for each axis to begin with, in as much time as all else of the axes takes.
    """

    majorTicks = minorTicks = ()  # type: ignore[assignment]

    def get_ticks_position(self) -> Literal["default"]:
        """Return where ticks are unless somebody moves them."""
        return "default"


class _YAxis(YAxis):
    """A vertical axis that makes no ticks."""

    majorTicks = minorTicks = ()  # type: ignore[assignment]

    def get_ticks_position(self) -> Literal["default"]:
        """Return where ticks are unless somebody moves them."""
        return "default"


class ImageAxes(Axes):
    """Axes for an image, without ticks."""

    def _init_axis(self) -> None:
        self.xaxis, self.yaxis = _XAxis(self, clear=False), _YAxis(self, clear=False)
        for side, spine in self.spines.items():
            spine.register_axis(self.xaxis if side in ("top", "bottom") else self.yaxis)

    def clear(self) -> None:
        """As of ``Axes``, with the frame in its place, where otherwise the first tick puts it."""
        super().clear()
        for spine in self.spines.values():
            spine.set_position(("outward", 0.0))


def image_axes(drawn: Figure, rows: int, columns: int) -> Any:
    """Axes for images, without ticks: an array (rows, columns)."""
    panel = {"axes_class": ImageAxes, "xticks": [], "yticks": []}
    return axes(drawn, rows, columns, subplot_kw=panel)


def log_scale(panel: Axes, direction: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic, with plain numbers at its ticks, at least three of them; where a
    line reaches 0 or below, of which there is no logarithm, it stays as it is.

    To be called once everything is drawn, since the ticks depend on the range.

    Args:
        direction: which axis, the horizontal or the vertical one.
    """
    drawn = [line for line in panel.lines if line.get_transform() == panel.transData]
    values = [line.get_xdata() if direction == "x" else line.get_ydata() for line in drawn]
    if any(bool((np.asarray(one, dtype=float) <= 0).any()) for one in values):
        return
    panel.set(**{f"{direction}scale": "log"})
    axis = panel.xaxis if direction == "x" else panel.yaxis
    low, high = axis.get_view_interval()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # Of each decade all of 1, 2 and 5, or fewer where there is no room for them; where the range is
    # narrow, evenly spaced values.
    for digits in _DIGITS[direction]:
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= _MOST_TICKS[direction]:
            break
    if len(ticks) < _FEWEST_TICKS[direction]:
        even = MaxNLocator(_EVEN_TICKS[direction]).tick_values(low, high)
        ticks = [float(tick) for tick in even if low <= tick <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def radius_axis(norm: str) -> str:
    """The label of an axis of radii: ε and the norm that it is measured in."""
    return f"ε ({norm_name(norm)})"


def save(drawn: Figure, path: Path) -> Path:
    """Write the figure as PNG, whole or not at all; the same figure gives the same bytes.

    What it was drawn from is written beside it; see ``advlab.plots.record``.
    """
    write(drawn, path, "png")
    record.write(drawn, path)
    return path


def write(drawn: Figure, path: Path, format: str) -> None:
    """Write the figure as ``png``, ``svg`` or ``pdf``, whole or not at all."""
    # Without dates and random names, the same figure gives the same bytes.
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Software": "advlab"},
        "svg": {"Date": None, "Creator": "advlab"},
        "pdf": {"CreationDate": None, "Creator": "advlab"},
    }
    buffer = io.BytesIO()
    with styled():
        drawn.savefig(buffer, format=format, metadata=metadata[format])
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))
