"""Several finished games beside each other."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advlab.config.base import Flag
from advlab.config.options.run import RunOptions


class Options(RunOptions):
    """Put finished runs side by side: figures, losses per step and per epoch, images of the same epochs."""

    runs: Annotated[
        list[str] | None,
        Field(min_length=2, max_length=20, description="folders of finished runs; all under --out where not given"),
        Flag(group="pictures"),
    ] = None
