"""The options of ``advlab plot``: which figures, in which format and look."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag, Options

_FORM = Flag(group="form", grid=False)


class PlotOptions(Options):
    """Options of ``advlab plot``."""

    out: f.Out = "samples"
    to: Annotated[
        str | None,
        Field(
            min_length=1, description="folder for the figures; by default the folder of each run"
        ),
        _FORM,
    ] = None
    figure: Annotated[
        str | None,
        Field(min_length=1, description="only the figure of this name, such as confusion"),
        _FORM,
    ] = None
    format: Annotated[Literal["png", "svg", "pdf"], Field(description="file format"), _FORM] = "pdf"
    style: Annotated[
        Literal["screen", "paper", "slide", "dark"],
        Field(
            description=(
                "screen: as the run drew it; paper: without title and caption; slide: larger "
                "texts and lines; dark: on a dark ground"
            )
        ),
        _FORM,
    ] = "screen"
    width: Annotated[
        float | None,
        Field(
            ge=1,
            le=40,
            description="width in inches, with which everything is scaled; by default the figure's",
        ),
        _FORM,
    ] = None
