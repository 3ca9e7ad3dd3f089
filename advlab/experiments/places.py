"""Whether the files and folders that a configuration names are there, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advlab.config.base import flags_of
from advlab.config.references import members_of, names_code, names_ensemble, names_file
from advlab.config.resolve import Config
from advlab.errors import UsageError

_DATA = ("folder:", "npz:", "csv:", "parquet:")


def check_places(configs: Sequence[Config]) -> None:
    """Refuse several configurations of which one names a file or a folder that is not there.

    A single run finds that as it begins.

    Raises:
        UsageError: a place does not exist; the line names the option.
    """
    for config in configs if len(configs) > 1 else ():
        _check(config)


def _check(config: Config) -> None:
    """Refuse a configuration that names a place which is not there."""
    dataset = getattr(config.options, "dataset", None)
    if isinstance(dataset, str) and dataset.startswith(_DATA):
        place = dataset.partition(":")[2]
        if place and not Path(place).exists():
            raise UsageError(f"--dataset {dataset}: there is nothing at {place}")
    for name in (name for name, flag in flags_of(config.options).items() if flag.place):
        value = getattr(config.options, name)
        if not isinstance(value, str) or names_code(value):
            continue
        places = members_of(value) if names_ensemble(value) else [value] * names_file(value)
        for place in places:
            if not Path(place).exists():
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} {value}: there is nothing at {place}")
