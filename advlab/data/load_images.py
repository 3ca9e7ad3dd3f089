"""Loading of the image data set that the options select."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from advlab.components import suggestion
from advlab.config.options.run import DataOptions
from advlab.data import catalogue, splits
from advlab.data.formats.columns import HF, PARQUET, is_table
from advlab.data.image_set import ImageSet
from advlab.errors import EnvironmentFailure, UsageError

FOLDER_PREFIX, NPZ_PREFIX, TORCHVISION = "folder:", "npz:", "torchvision:"
_RESIZABLE = {
    FOLDER_PREFIX: "folder:PATH",
    PARQUET: "parquet:PATH",
    HF: "hf:NAME",
    TORCHVISION: "torchvision:NAME",
}
"""Kinds of data sets that are scaled to ``--image-size``, by the beginning of their names."""

OFFLINE = "ADVLAB_OFFLINE"
"""Environment variable; any value except "" and "0" disables downloads by other commands than
``advlab data get``."""


def load(options: DataOptions) -> ImageSet:
    """Load the data set that the options name into memory, split.

    A missing data set is downloaded first. ``auto`` is MNIST, or digits if MNIST is neither
    present nor quickly downloaded.

    Raises:
        UsageError: the name is unknown, or ``--image-size`` was given for a data set of fixed size.
        EnvironmentFailure: the data set cannot be downloaded, or one of its files is corrupt.
    """
    name, reason = resolve_name(options)
    return replace(_reordered(_load(name, options)), fallback_reason=reason)


def load_to_train(options: DataOptions) -> ImageSet:
    """Load the data set that the options name, as ``load`` does, for a network that is trained on
    it.

    Raises:
        UsageError: it holds test images only; else as for ``load``.
        EnvironmentFailure: as for ``load``.
    """
    data = load(options)
    if not len(data.train):
        raise UsageError(f"{data.name}: holds test images only, and a network is trained here")
    return data


def _reordered(data: ImageSet) -> ImageSet:
    """The data set, its validation and test images in a drawn order where they are stored class by
    class: the first ones, which are often used alone, would be of the first classes."""
    val, test, remarks = data.val, data.test, data.remarks
    if splits.is_by_class(val.labels):
        val = val.select(splits.drawn_order(len(val)))
    if splits.is_by_class(test.labels):
        test = test.select(splits.drawn_order(len(test)))
        remarks = (
            *remarks,
            "the test images are stored class by class; they are read in another order, the same "
            "each time, so that the first ones are of all classes",
        )
    return replace(data, val=val, test=test, remarks=remarks)


def _load(name: str, options: DataOptions) -> ImageSet:
    data_dir = Path(options.data_dir)
    for option in ("image_column", "label_column"):
        if getattr(options, option) is not None and not is_table(name):
            flag = option.replace("_", "-")
            raise UsageError(f"--{flag}: goes with parquet:PATH and hf:NAME, and {name} has none")
    if name.startswith(FOLDER_PREFIX):
        from advlab.data import image_checks
        from advlab.data.formats import image_folder

        return image_checks.checked(
            image_folder.load(
                Path(name.removeprefix(FOLDER_PREFIX)), options.split_seed, options.image_size
            )
        )
    if name.startswith(TORCHVISION):
        from advlab.data.formats import torchvision_sets

        return torchvision_sets.load(
            name, data_dir, options.split_seed, options.image_size, offline()
        )
    if is_table(name):
        from advlab.data import image_checks
        from advlab.data.formats import image_table

        return image_checks.checked(
            image_table.load(
                name,
                options.split_seed,
                options.image_size,
                options.image_column,
                options.label_column,
                offline=offline(),
            )
        )
    if name.startswith(NPZ_PREFIX):
        from advlab.data import image_checks
        from advlab.data.formats import npz

        if options.image_size is not None:
            raise UsageError(
                f"--image-size: the images of {name} are taken as they are; only "
                f"{_resizable_names()} can be resized"
            )
        return image_checks.checked(
            npz.load(Path(name.removeprefix(NPZ_PREFIX)), options.split_seed)
        )
    module = catalogue.dataset_module(name)
    if options.image_size is not None and not module.INFO.resizable:
        _, height, width = module.INFO.shape
        raise UsageError(
            f"--image-size: the images of {name} are {height}x{width}; only {_resizable_names()} "
            "can be resized"
        )
    if not module.present(data_dir):
        download_required(name, module.INFO, data_dir)
    try:
        return module.load(data_dir, options.split_seed, options.image_size)
    except EnvironmentFailure as error:
        remedy = (
            f"; 'advlab data get {name} --overwrite' downloads it again"
            if module.INFO.files
            else ""
        )
        raise EnvironmentFailure(f"{error}{remedy}") from error


def how_loaded(options: DataOptions) -> dict[str, Any]:
    """The options beside the name that say which images a data set consists of. A checkpoint keeps
    them, so that its data can be loaded again."""
    columns = {
        key: value
        for key in ("image_column", "label_column")
        if (value := getattr(options, key)) is not None
    }
    return {"split_seed": options.split_seed, "image_size": options.image_size, **columns}


def load_for_testing(options: DataOptions, limit: int | None) -> ImageSet:
    """Load the data set that the options name for a network that was trained on other data.

    A folder of classes that is not split is a test set as a whole, of which ``limit`` images are
    read. Any other data set is loaded as by ``load``.

    Raises:
        UsageError, EnvironmentFailure: as for ``load``.
    """
    root = Path(options.dataset.removeprefix(FOLDER_PREFIX))
    if options.dataset.startswith(FOLDER_PREFIX) and options.dataset != FOLDER_PREFIX:
        from advlab.data import image_checks
        from advlab.data.formats import image_folder

        if image_folder.holds_classes(root):
            data = image_folder.load_as_test(root, options.image_size, limit)
            return image_checks.checked(data, is_sample=True)
    return load(options)


def is_resizable(options: DataOptions) -> bool:
    """Whether the images of the data set are scaled to ``--image-size`` as they are read.

    Raises:
        UsageError: no data set has this name.
    """
    return names_resizable(resolve_name(options)[0])


def names_resizable(name: str) -> bool:
    """The same of a data set of this name, which is known."""
    if name.startswith(NPZ_PREFIX):
        return False
    return name.startswith(tuple(_RESIZABLE)) or catalogue.dataset_module(name).INFO.resizable


def _resizable_names() -> str:
    """The data sets that can be scaled to ``--image-size``, as a phrase."""
    modules = {name: catalogue.dataset_module(name) for name in catalogue.dataset_names()}
    names = [name for name, module in modules.items() if module.INFO.resizable]
    *first, last = [*names, *_RESIZABLE.values()]
    return f"{', '.join(first)} and {last}"


def resolve_name(options: DataOptions) -> tuple[str, str]:
    """Return the name of the data set, with ``auto`` resolved, and why ``auto`` is not MNIST.

    ``auto`` tries to download MNIST once per process and folder. The outcome is cached.

    Returns:
        The name, and the reason for falling back to digits; the reason is empty otherwise.

    Raises:
        UsageError: no data set has this name.
    """
    name = options.dataset
    if name.startswith(FOLDER_PREFIX):
        if name == FOLDER_PREFIX:
            raise UsageError(
                "folder: needs a path to a folder with one sub-folder per class, such as "
                "folder:photos"
            )
        return name, ""
    if name.startswith(NPZ_PREFIX):
        if name == NPZ_PREFIX:
            raise UsageError("npz: needs a path to a NumPy archive, such as npz:images.npz")
        return name, ""
    if name.startswith(TORCHVISION) or is_table(name):
        return name, ""
    if name != "auto":
        known = catalogue.dataset_names()
        if name not in known:
            prefixes = (FOLDER_PREFIX, NPZ_PREFIX, PARQUET, HF, TORCHVISION)
            nearest = suggestion(name, [*known, "auto", *prefixes])
            if Path(name).is_dir():
                nearest = f" (did you mean 'folder:{name}'?)"
            elif name.endswith(".npz") and Path(name).is_file():
                nearest = f" (did you mean 'npz:{name}'?)"
            raise UsageError(
                f"unknown data set {name!r}{nearest}; there are: auto, {', '.join(known)}, "
                "folder:PATH, npz:FILE, parquet:PATH, hf:NAME, torchvision:NAME"
            )
        return name, ""
    data_dir = Path(options.data_dir)
    if catalogue.dataset_module("mnist").present(data_dir):
        return "mnist", ""
    reason = _try_mnist(data_dir.absolute(), offline())
    return ("mnist", "") if reason is None else ("digits", f"MNIST is not in {data_dir} ({reason})")


def offline() -> bool:
    """Return whether the environment variable ``ADVLAB_OFFLINE`` disables implicit downloads."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


@functools.lru_cache
def _try_mnist(data_dir: Path, is_offline: bool) -> str | None:
    """Try to download MNIST within seconds; return None on success, else the reason of the failure.

    The outcome is cached, so that the runs of a grid try only once.
    """
    if is_offline:
        return f"{OFFLINE} is set"
    from advlab.data.download import mirrors

    try:
        mirrors.fetch_set("mnist", catalogue.dataset_module("mnist").INFO, data_dir, mirrors.QUICK)
    except EnvironmentFailure as error:
        # The reason alone, without the names of the mirrors in front of it.
        return str(error).rpartition(": ")[2]
    return None


def download_required(name: str, info: catalogue.DatasetInfo, data_dir: Path) -> None:
    """Download a data set that was requested by name.

    Raises:
        EnvironmentFailure: downloads are disabled or failed. The message names the reason and the
            command that downloads the data set.
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
