"""Pictures that are put together and saved blank: laying out and painting is two thirds of what a
small run costs."""

from __future__ import annotations

from typing import BinaryIO

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

_savefig = Figure.savefig


def paint_blank(blank: bool = True) -> None:
    """Whether ``Figure.savefig`` writes, from now on, blank PNG files of the right size, with their
    metadata."""
    Figure.savefig = _blank if blank else _savefig  # type: ignore[assignment, method-assign]


def _blank(figure: Figure, file: BinaryIO, *, format: str, metadata: dict[str, str]) -> None:
    if format != "png":
        _savefig(figure, file, format=format, metadata=metadata)
        return
    width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
    words = PngInfo()
    for key, value in metadata.items():
        words.add_text(key, value)
    Image.new("L", (width, height), 255).save(file, format=format, pnginfo=words)
