"""``advlab data``: list data sets, download them (``get``) and draw their content (``show``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from advlab.components import suggestion
from advlab.config.options.run import DataCommandOptions
from advlab.data import catalogue, raw_texts
from advlab.data.catalogue import DatasetInfo
from advlab.data.formats import columns
from advlab.errors import EnvironmentFailure, UsageError

_PREFIXES = ("folder:", "csv:", "npz:", "parquet:", "hf:", "torchvision:")
_IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".JPEG", ".webp")


def main(action: str, names: Sequence[str], options: DataCommandOptions) -> int:
    """List, download or draw data sets.

    Args:
        action: "list", "get" or "show".
        names: the data sets. "list" lists all if none is given, and "show" also accepts
            folder:PATH, csv:PATH, npz:FILE, parquet:PATH and hf:NAME.

    Returns:
        The exit status, 0.

    Raises:
        UsageError: a name is unknown, or missing.
        EnvironmentFailure: a data set could not be downloaded; the others were downloaded.
    """
    known = _known()
    actions = ["list", "get", "show"]
    for name in names:
        if name not in known and not (action == "show" and name.startswith(_PREFIXES)):
            raise UsageError(
                f"unknown data set {name!r}{suggestion(name, known)}; there are: {', '.join(known)}"
            )
    data_dir = Path(options.data_dir)
    if action == "list":
        print(table(list(names) or known, data_dir))
        return 0
    if action not in actions:
        raise UsageError(
            f"unknown action {action!r}{suggestion(action, actions)}; there are: "
            f"{', '.join(actions)}"
        )
    if not names:
        raise UsageError(
            f"data {action}: names of data sets are missing; there are: {', '.join(known)}"
        )
    if action == "show":
        from advlab.experiments.data.show import show

        for name in dict.fromkeys(names):
            show(name, _is_text(name), options)
        return 0
    return _get(list(dict.fromkeys(names)), data_dir, options)


def table(names: Sequence[str], data_dir: Path) -> str:
    """Return a table of data sets: presence, sizes, shape, classes, licence and source."""
    rows = [
        ("name", "here", "train / val / test", "shape", "classes", "on disk", "licence", "source")
    ]
    for name in names:
        info, present = _info_of(name), _present(name, data_dir)
        counts = " / ".join(f"{count:,}" for count in info.counts)
        shape = "x".join(map(str, info.shape)) or "texts"
        size = (
            _formatted_size(_size(info, data_dir))
            if present and info.files
            else "built in"
            if present
            else "-"
        )
        rows.append(
            (
                name,
                "yes" if present else "no",
                counts,
                shape,
                str(len(info.classes)),
                size,
                info.licence,
                info.source,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(
        [
            *lines,
            "",
            f"data folder: {data_dir}; your own data: --dataset folder:PATH with a sub-folder per "
            "class, npz:FILE for images in a NumPy archive, csv:PATH for texts, or parquet:PATH "
            "and hf:NAME of the Hugging Face Hub for either; torchvision:NAME for other sets of "
            "torchvision",
        ]
    )


def _is_text(name: str) -> bool:
    """Return whether a data set holds texts; a folder does if it has .txt files and no images, a
    table of columns if none of them holds images."""
    if columns.is_table(name):
        from advlab.data.load_images import offline

        parts = columns.table(name, offline=offline()).parts
        return "image" not in next(iter(parts.values())).kinds.values()
    if not name.startswith("folder:"):
        return name.startswith("csv:") or name in raw_texts.dataset_names()
    extensions = {path.suffix.lower() for path in Path(name.removeprefix("folder:")).rglob("*.*")}
    return ".txt" in extensions and not extensions & set(_IMAGE_EXTENSIONS)


def _known() -> list[str]:
    """Return the names of all data sets, first those of images, then those of texts."""
    return [*catalogue.dataset_names(), *raw_texts.dataset_names()]


def _info_of(name: str) -> DatasetInfo:
    return (
        raw_texts.dataset_module(name).INFO
        if name in raw_texts.dataset_names()
        else catalogue.dataset_module(name).INFO
    )


def _present(name: str, data_dir: Path) -> bool:
    return (
        raw_texts.dataset_module(name)
        if name in raw_texts.dataset_names()
        else catalogue.dataset_module(name)
    ).present(data_dir)


def _size(info: catalogue.DatasetInfo, data_dir: Path) -> int:
    """Return the size of the files of a data set in bytes."""
    paths = (path for pattern in info.stored for path in (data_dir / info.folder).glob(pattern))
    return sum(
        file.stat().st_size
        for path in paths
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    )


def _formatted_size(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _get(names: list[str], data_dir: Path, options: DataCommandOptions) -> int:
    """Download all data sets; a failure does not prevent the next download."""
    failures = [failure for name in names if (failure := _get_one(name, data_dir, options))]
    if failures:
        raise EnvironmentFailure("; ".join(failures))
    return 0


def _get_one(name: str, data_dir: Path, options: DataCommandOptions) -> str | None:
    """Download one data set and print the outcome; return the error message, or None."""
    try:
        print(_download(name, data_dir, options), flush=True)
    except EnvironmentFailure as error:
        return str(error)
    return None


def _download(name: str, data_dir: Path, options: DataCommandOptions) -> str:
    """Download one data set if necessary, and return a message about the outcome."""
    info = _info_of(name)
    if not info.files:
        return f"{name} needs no download"
    if _present(name, data_dir) and not options.overwrite:
        return f"{name} is already in {data_dir / info.folder}; --overwrite downloads it again"
    from advlab.data.download import mirrors

    patience = dataclasses.replace(
        mirrors.THOROUGH,
        connect=min(mirrors.THOROUGH.connect, options.timeout),
        stall=options.timeout,
    )
    mirrors.fetch_set(name, info, data_dir, patience, options.overwrite)
    return f"{name} is in {data_dir / info.folder}"
