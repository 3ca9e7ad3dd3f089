"""``advlab data``: list data sets; ``get`` downloads and ``show`` draws them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from advlab.components import suggestion
from advlab.config.options.run import DataCommandOptions
from advlab.data import catalogue, raw_texts
from advlab.data.catalogue import DatasetInfo
from advlab.errors import EnvironmentFailure, UsageError

_PREFIXES = ("folder:", "csv:")
_PHOTOS = (".png", ".jpg", ".jpeg", ".JPEG", ".webp")


def main(action: str, names: Sequence[str], options: DataCommandOptions) -> int:
    """Print the table of data sets, or download or draw those named.

    Args:
        action: "list", "get" or "show".
        names: for "list", none for all; else at least one. "show" takes folder:PATH and csv:PATH
            too.

    Returns:
        The exit status, 0.

    Raises:
        UsageError: a name is unknown, or is missing.
        EnvironmentFailure: some set could not be had; the others were brought nevertheless.
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
        raise UsageError(f"data {action}: which set? There are: {', '.join(known)}")
    if action == "show":
        from advlab.experiments.data.show import show

        for name in dict.fromkeys(names):
            show(name, _is_text(name), options)
        return 0
    return _get(list(dict.fromkeys(names)), data_dir, options)


def table(names: Sequence[str], data_dir: Path) -> str:
    """A line for each set: whether it is there, its counts, shape and classes, size on disk,
    licence and source."""
    rows = [
        ("name", "here", "train / val / test", "shape", "classes", "on disk", "licence", "source")
    ]
    for name in names:
        info, here = _info_of(name), _present(name, data_dir)
        counts = " / ".join(f"{count:,}" for count in info.counts)
        shape = "x".join(map(str, info.shape)) or "texts"
        size = (
            _in_words(_size(info, data_dir)) if here and info.files else "built in" if here else "-"
        )
        rows.append(
            (
                name,
                "yes" if here else "no",
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
            f"data folder: {data_dir}; your own: --dataset folder:PATH, a sub-folder per class; "
            "csv:PATH of texts",
        ]
    )


def _is_text(name: str) -> bool:
    """Whether a set is of texts; a folder is where it holds texts and no photos."""
    if not name.startswith("folder:"):
        return name.startswith("csv:") or name in raw_texts.dataset_names()
    endings = {path.suffix for path in Path(name.removeprefix("folder:")).rglob("*.*")}
    return ".txt" in endings and not endings & set(_PHOTOS)


def _known() -> list[str]:
    """Names of all sets, of images and then of texts."""
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
    """Bytes that the set's files take."""
    kept = (path for pattern in info.stored for path in (data_dir / info.folder).glob(pattern))
    return sum(
        file.stat().st_size
        for path in kept
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    )


def _in_words(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _get(names: list[str], data_dir: Path, options: DataCommandOptions) -> int:
    """Bring every set to the data folder; one that fails does not keep the next from being
    tried."""
    failures = [failure for name in names if (failure := _get_one(name, data_dir, options))]
    if failures:
        raise EnvironmentFailure("; ".join(failures))
    return 0


def _get_one(name: str, data_dir: Path, options: DataCommandOptions) -> str | None:
    """Bring one set to the data folder and say what happened; why it could not be had, or None."""
    try:
        print(_brought(name, data_dir, options), flush=True)
    except EnvironmentFailure as error:
        return str(error)
    return None


def _brought(name: str, data_dir: Path, options: DataCommandOptions) -> str:
    info = _info_of(name)
    if not info.files:
        return f"{name} needs no download"
    if _present(name, data_dir) and not options.overwrite:
        return f"{name} is in {data_dir / info.folder} already; --overwrite downloads it again"
    from advlab.data.download import mirrors

    patience = dataclasses.replace(
        mirrors.THOROUGH,
        connect=min(mirrors.THOROUGH.connect, options.timeout),
        stall=options.timeout,
    )
    mirrors.fetch_set(name, info, data_dir, patience, options.overwrite)
    return f"{name} is in {data_dir / info.folder}"
