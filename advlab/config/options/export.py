"""The options of ``advlab export``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag, Options


class ExportOptions(Options):
    """Options of ``advlab export``."""

    out: f.Out = "samples"
    to: Annotated[
        str | None,
        Field(
            min_length=1,
            description="folder of the exported files; by default that of the tracker under --out",
        ),
        Flag(group="form", grid=False),
    ] = None
    overwrite: Annotated[
        bool,
        Field(description="replace what an earlier export wrote of these runs"),
        Flag(group="form", grid=False),
    ] = False
