"""A folder of CSV files, one for each part: ``train.csv``, ``test.csv`` and perhaps ``val.csv``."""

from __future__ import annotations

from pathlib import Path

from advlab.data import split_words
from advlab.data.formats import text_file
from advlab.data.formats.listing import entries
from advlab.errors import UsageError

_SUFFIXES = (".csv", ".tsv")


def parts(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the file of each part, and a sentence about other files, if there are any.

    The files have the names of ``split_words`` and end in ``.csv`` or ``.tsv``, perhaps with
    ``.gz``.

    Raises:
        UsageError: there is no file for training or for testing, or there are two for one part.
    """
    paths = entries(folder)
    files = {
        path.name: path
        for path in paths
        if not path.is_dir() and text_file.suffix(path) in _SUFFIXES
    }
    by_stem: dict[str, str] = {}
    for name, path in files.items():
        stem = text_file.stem(path)
        if split_words.part_of(stem) is not None and stem in by_stem:
            raise UsageError(f"csv: {folder} holds {by_stem[stem]} and {name}; remove one of them")
        by_stem[stem] = name
    named = split_words.assigned(by_stem, f"csv: {folder}")
    if not {"train", "test"} <= named.keys():
        raise UsageError(f"csv: {folder} is a folder; it must hold train.csv and test.csv")
    chosen = {part: files[by_stem[stem]] for part, stem in named.items()}
    if not (others := [path.name for path in paths if path not in chosen.values()]):
        return chosen, []
    read = ", ".join(path.name for path in chosen.values())
    listed = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
    return chosen, [f"skipped, since {read} are read: {len(others):,} ({listed})"]
