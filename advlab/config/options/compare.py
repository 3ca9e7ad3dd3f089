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
    ensemble: Annotated[
        bool,
        Field(
            description=(
                "judge the networks of runs of train together as well, by the mean of their "
                "probabilities, on validation and on test data"
            )
        ),
        Flag(group="which runs", grid=False),
    ] = False
    data_dir: f.DataDir = "data"
    format: Annotated[
        Literal["table", "csv", "json", "latex"],
        Field(description="format of the printed table"),
        _FORM,
    ] = "table"
