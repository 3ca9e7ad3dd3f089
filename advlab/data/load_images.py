"""Loading of the data set of images that the options choose."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path

from advlab.components import suggestion
from advlab.config.options.run import DataOptions
from advlab.data import catalogue
from advlab.data.image_set import ImageSet
from advlab.errors import EnvironmentFailure, UsageError

FOLDER_PREFIX = "folder:"
OFFLINE = "ADVLAB_OFFLINE"
"""Environment variable: set to anything but nothing or 0, no download is tried unasked."""


def load(options: DataOptions) -> ImageSet:
    """The data set that the options name, in memory and split.

    A set that is not there is downloaded first. ``auto`` is MNIST, or digits where MNIST cannot be
    had.

    Raises:
        UsageError: the name is unknown, or ``--image-size`` was given to a set of a fixed size.
        EnvironmentFailure: the set cannot be had, or a file of it is corrupt.
    """
    name, reason = resolve_name(options)
    return replace(_load(name, options), instead=reason)


def _load(name: str, options: DataOptions) -> ImageSet:
    data_dir = Path(options.data_dir)
    if name.startswith(FOLDER_PREFIX):
        from advlab.data.formats import image_folder

        return image_folder.load(
            Path(name.removeprefix(FOLDER_PREFIX)), options.split_seed, options.image_size
        )
    module = catalogue.module_of(name)
    if options.image_size is not None and not module.INFO.resizable:
        _, height, width = module.INFO.shape
        raise UsageError(
            f"--image-size: {name} has images of {height}x{width}; it can be set for flowers102 "
            "and folder:PATH"
        )
    if not module.present(data_dir):
        fetch_strictly(name, module.INFO, data_dir)
    try:
        return module.load(data_dir, options.split_seed, options.image_size)
    except EnvironmentFailure as error:
        again = (
            f"; 'advlab data get {name} --overwrite' downloads it anew" if module.INFO.files else ""
        )
        raise EnvironmentFailure(f"{error}{again}") from error


def resolve_name(options: DataOptions) -> tuple[str, str]:
    """The data set's own name, once it is known to exist; and why ``auto`` did not come to MNIST,
    where it did not.

    ``auto`` tries to download MNIST once a process and folder, so asking again costs nothing.

    Raises:
        UsageError: there is no data set of that name.
    """
    name = options.dataset
    if name.startswith(FOLDER_PREFIX):
        if name == FOLDER_PREFIX:
            raise UsageError(
                "folder: needs a path, such as folder:photos with a sub-folder per class"
            )
        return name, ""
    if name != "auto":
        known = catalogue.known()
        if name not in known:
            nearest = suggestion(name, [*known, "auto", FOLDER_PREFIX])
            raise UsageError(
                f"unknown data set {name!r}{nearest}; there are: auto, {', '.join(known)}, "
                "folder:PATH"
            )
        return name, ""
    data_dir = Path(options.data_dir)
    if catalogue.module_of("mnist").present(data_dir):
        return "mnist", ""
    reason = _try_mnist(data_dir.absolute(), offline())
    return ("mnist", "") if reason is None else ("digits", f"MNIST is not in {data_dir} ({reason})")


def offline() -> bool:
    """Whether the environment forbids downloads that nobody asked for by name."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


@functools.lru_cache
def _try_mnist(data_dir: Path, forbidden: bool) -> str | None:
    """Try to download MNIST quickly; None where it worked, else why not. Remembered, so that a grid
    tries once."""
    if forbidden:
        return f"{OFFLINE} is set"
    from advlab.data.download import mirrors

    try:
        mirrors.fetch_set("mnist", catalogue.module_of("mnist").INFO, data_dir, mirrors.QUICK)
    except EnvironmentFailure as error:
        return str(error).rpartition(": ")[
            2
        ]  # the answer, without the names of all the hosts that gave it
    return None


def fetch_strictly(name: str, info: catalogue.SetInfo, data_dir: Path) -> None:
    """Download a set that was asked for by name.

    Raises:
        EnvironmentFailure: it cannot be had; the line says why and what would get it.
    """
    if offline():
        raise EnvironmentFailure(
            f"{name} is not in {data_dir} and {OFFLINE} is set; 'advlab data get {name}' "
            "downloads it"
        )
    from advlab.data.download import mirrors

    try:
        mirrors.fetch_set(name, info, data_dir, mirrors.THOROUGH)
    except EnvironmentFailure as error:
        raise EnvironmentFailure(
            f"{name} is not in {data_dir}; 'advlab data get {name}' downloads it (tried: {error})"
        ) from error
