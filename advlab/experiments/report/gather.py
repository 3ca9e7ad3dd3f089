"""Finished runs with everything that the page shows of each."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from advlab.config import yamlfile
from advlab.errors import AdvlabError
from advlab.experiments.report import typed
from advlab.plots import record
from advlab.runs import checksums, identity, results
from advlab.runs.files import CONFIG
from advlab.runs.identity import Identity
from advlab.runs.results import EarlierResult, Result

_PICTURES = (".png", ".gif")
_MOST_PICTURES, _MOST_FILES = 24, 100  # of one run; a generator may have drawn thousands


@dataclass(frozen=True)
class Figure:
    """A picture of a run.

    Attributes:
        place: where it lies, seen from the page.
        name: of its file.
        words: what it shows.
    """

    place: Path
    name: str
    words: str


@dataclass(frozen=True)
class Run:
    """A run on the page.

    Attributes:
        folder: its folder.
        place: its folder, seen from the page.
        result: its result, or the error with which reading it failed.
        date: when it finished, UTC, ISO 8601.
        identity: what it was made of; None where that is not known.
        config: the text of its ``config.yaml``; empty where there is none that it wrote.
        remark: what is wrong with that file, if it is known to be another one.
        settings: its options other than the defaults, in words.
        line: the command line that repeats it; None where none does.
        hashes: of its data and networks, by what they are.
        figures: its pictures.
        more_figures: how many pictures are left out here.
        files: names of its files.
        more_files: how many files are left out here.
    """

    folder: Path
    place: Path
    result: Result | EarlierResult | AdvlabError
    date: str
    identity: Identity | None = None
    config: str = ""
    remark: str = ""
    settings: str = ""
    line: str | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    more_figures: int = 0
    files: Sequence[str] = ()
    more_files: int = 0

    @property
    def name(self) -> str:
        """``command/name``, as other commands take it."""
        return self.place.as_posix()

    @property
    def summary(self) -> str:
        """The headline figure and its conditions, or what is wrong with the run."""
        if isinstance(self.result, AdvlabError):
            message = str(self.result).removeprefix(f"{self.folder / results.FILE} ")
            return message.split("; --overwrite")[0]
        return self.result.summary() + (f"; {self.remark}" if self.remark else "")


Fingerprint = Mapping[Path, tuple[int, int]]


def fingerprint(out: Path) -> Fingerprint:
    """Size and time of the result of every finished run under ``out``, by its folder."""
    stamps = ((folder, _stamp(folder)) for folder in sorted(out.glob("*/*")))
    return {folder: stamp for folder, stamp in stamps if stamp is not None}


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Time and size of a result; None where there is none, or where it was removed just now."""
    try:
        return results.written_at(folder), (folder / results.FILE).lstat().st_size
    except OSError:
        return None


def gathered(out: Path) -> list[Run]:
    """Every finished or damaged run under ``out``, the newest first."""
    runs = []
    for folder, result in results.every_run(out):
        # A run may be removed while the others are read.
        with contextlib.suppress(FileNotFoundError):
            runs.append(_run(out, folder, result))
    return sorted(runs, key=lambda run: (run.date, run.name), reverse=True)


def _run(out: Path, folder: Path, result: Result | EarlierResult | AdvlabError) -> Run:
    place = folder.relative_to(out)
    files = _files(folder)
    pictures = _pictures(folder, files)
    remark = checksums.config_remark(folder)
    config, values = ("", {}) if remark else _configuration(folder)
    return Run(
        folder=folder,
        place=place,
        result=result,
        date=_finished_at(folder, result),
        identity=_identity(folder),
        config=config,
        remark=remark,
        settings=typed.settings_of(values),
        line=_line(folder, values, result) if values else _line_in_comment(config),
        hashes=dict(_hashes(result)),
        figures=[
            Figure(place / name, name, _words(folder / name, place))
            for name in pictures[:_MOST_PICTURES]
        ],
        more_figures=max(0, len(pictures) - _MOST_PICTURES),
        files=files[:_MOST_FILES],
        more_files=max(0, len(files) - _MOST_FILES),
    )


def _line(
    folder: Path, values: Mapping[str, object], result: Result | EarlierResult | AdvlabError
) -> str:
    """The command line that repeats a run, with as many processes as shared its training."""
    line = typed.line_of(values) or typed.from_file(folder)
    processes = result.machine.processes if isinstance(result, Result) else 1
    return line if processes == 1 else f"torchrun --nproc-per-node {processes} -m {line}"


def _line_in_comment(config: str) -> str | None:
    """The line of a comparison of runs, which its configuration holds as a comment."""
    first = config.partition("\n")[0]
    return first.removeprefix("# ") if first.startswith("# advlab ") else None


def _finished_at(folder: Path, result: Result | EarlierResult | AdvlabError) -> str:
    if not isinstance(result, AdvlabError) and result.date:
        return result.date
    written = results.written_at(folder) / 1e9
    return datetime.fromtimestamp(written, timezone.utc).isoformat(timespec="seconds")


def _identity(folder: Path) -> Identity | None:
    try:
        return identity.read(folder)
    except (AdvlabError, OSError):  # a damaged one identifies nothing
        return None


def _configuration(folder: Path) -> tuple[str, Mapping[str, object]]:
    """The text of a run's ``config.yaml`` and what it says; nothing where it cannot be read.

    That of a comparison of runs says nothing but, in a comment, the line that repeats it.
    """
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
        if all(line.startswith("#") for line in text.splitlines()):
            return text, {}
        return text, yamlfile.read(folder / CONFIG).values
    except (AdvlabError, OSError, UnicodeDecodeError):
        return "", {}


def _hashes(result: Result | EarlierResult | AdvlabError) -> Iterator[tuple[str, str]]:
    """Every sha256 that a result holds, by the name of its field."""
    if isinstance(result, Result):
        yield from _found_in(result.model_dump(mode="json"), "")


def _found_in(value: object, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _found_in(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value, start=1):
            yield from _found_in(inner, f"{where}.{number}")
    elif isinstance(value, str) and "sha256" in where.rsplit(".", 1)[-1]:
        yield where, value


def _files(folder: Path) -> list[str]:
    """Names of the plain files in a folder that are not hidden, sorted."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        entry.name
        for entry in entries
        if entry.name[0] != "." and stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)
    ]


def _pictures(folder: Path, files: Sequence[str]) -> list[str]:
    """Names of pictures, figures before photos and other images."""
    pictures = [name for name in files if name.lower().endswith(_PICTURES)]
    figures = record.records_in(folder)
    return sorted(pictures, key=lambda name: Path(name).stem not in figures)


def _words(picture: Path, run: Path) -> str:
    """What a picture shows: title and caption of a figure, or the name of the file."""
    return record.words_of(picture) or f"Picture {picture.stem} of the run {run.as_posix()}"
