"""The options of ``advlab list``, ``advlab report`` and ``advlab remove``: which runs, and how they
are shown."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from advlab.config import fields as f
from advlab.config.base import Flag, Options

_FILTER = Flag(group="which runs", grid=False)
_FORM = Flag(group="form", grid=False)


class ListCommandOptions(Options):
    """Options of ``advlab list``: filters on finished runs, and the output format."""

    out: f.Out = "samples"
    command: Annotated[
        str | None,
        Field(min_length=1, description="only runs of this command, or compare for comparisons"),
        _FILTER,
    ] = None
    dataset: Annotated[
        str | None, Field(min_length=1, description="only runs on this data set"), _FILTER
    ] = None
    model: Annotated[
        str | None, Field(min_length=1, description="only runs of this network"), _FILTER
    ] = None
    since: Annotated[
        str | None,
        Field(description="only runs finished on this day (UTC) or later, such as 2026-01-31"),
        _FILTER,
    ] = None
    format: Annotated[
        Literal["table", "csv", "json", "latex"],
        Field(
            description="output format; formats other than table list runs only, with full names"
        ),
        _FORM,
    ] = "table"
    table: Annotated[
        bool,
        Field(
            description="with 'advlab list attacks': what each attack may change and see, its "
            "default budget, paper and reference"
        ),
        _FORM,
    ] = False
    schemas: Annotated[
        bool, Field(description="print the JSON schema of every kind of result and stop"), _FORM
    ] = False

    @field_validator("since")
    @classmethod
    def _is_a_day(cls, value: str | None) -> str | None:
        try:
            return None if value is None else date.fromisoformat(value).isoformat()
        except ValueError:
            raise PydanticCustomError("no_day", "must be a day such as 2026-01-31") from None


class ReportOptions(Options):
    """Options of ``advlab report``."""

    out: f.Out = "samples"
    watch: Annotated[
        bool,
        Field(description="write the page again whenever a run finishes, until Ctrl-C"),
        _FORM,
    ] = False


class RemoveOptions(Options):
    """Options of ``advlab remove``."""

    out: f.Out = "samples"
    dry_run: Annotated[
        bool, Field(description="show what would be removed and remove nothing"), _FORM
    ] = False
