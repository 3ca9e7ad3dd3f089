"""The options of ``advlab compare``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag, Options

_FORM = Flag(group="form", grid=False)


class CompareOptions(Options):
    """Options of ``advlab compare``."""

    out: f.Out = "samples"
    name: f.Name = None
    overwrite: f.Overwrite = False
    anyway: Annotated[
        bool,
        Field(
            description="compare figures of other data, images, norms or radii, each said beside it"
        ),
        Flag(group="which runs", grid=False),
    ] = False
    format: Annotated[
        Literal["table", "csv", "json", "latex"],
        Field(description="format of the printed table"),
        _FORM,
    ] = "table"
