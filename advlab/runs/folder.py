"""The folder of a run: locked by one process at a time, finished when it holds a result."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from advlab.config.base import identity_of
from advlab.config.references import members_of, names_ensemble
from advlab.config.resolve import Config, to_mapping
from advlab.config.yamlfile import dump_text
from advlab.errors import EnvironmentFailure, UsageError
from advlab.logs import logger
from advlab.runs import identity, results
from advlab.runs.files import (
    CHECKSUMS,
    CONFIG,
    JOURNAL,
    TEMPORARY,
    journal,
    recording,
    remove_leftovers,
    write_text,
)
from advlab.runs.identity import Identity, word
from advlab.runs.processes import current

# Options that hold a network's place, and the word before its name in a run's own name.
_NETWORKS = {
    "checkpoint": "on",
    "surrogate": "from",
    "generator": "of",
    "feature_classifier": "by",
    "inception": "and",
}
_LOCK = ".lock"
_POLL = 0.2  # seconds between two looks at a lock that another process holds
_NUMBERS = re.compile(r"\d+(\.\d+)*(e[-+]?\d+)?")
# What a resumption reads. A file of such a name in a run's folder is advlab's, whoever put it
# there: it would be read.
_STATE = re.compile(r"resume.*\.(pt|safetensors)")
# Whether a folder that another process is at work in is waited for.
_waits: ContextVar[bool] = ContextVar("_waits", default=True)


class HeldElsewhere(EnvironmentFailure):
    """Another process is at work in a run's folder, and whoever asked does not want to wait.

    Attributes:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another process of advlab is at work in {folder}")
        self.folder = folder


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Have every claim of a folder that another process holds raise ``HeldElsewhere`` meanwhile."""
    token = _waits.set(False)
    try:
        yield
    finally:
        _waits.reset(token)


def is_held(folder: Path) -> bool:
    """Whether a process, this one or another, is at work in a run's folder at this moment."""
    if not (folder / _LOCK).is_file():
        return False
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except FileNotFoundError:  # its process removed the folder at this very moment
        return False


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        path: the folder; it need not exist yet.
        identity: what makes the run the one it is.
        config: the text of its ``config.yaml``.
        defaults: of its options, by name: what an earlier run had that did not know an option yet.
        overwrite: whether another or a finished run in the folder may be cleared.
        resume: whether an interrupted run of the same identity goes on where it stopped.
    """

    path: Path
    identity: Identity
    config: str
    defaults: Mapping[str, Any]
    overwrite: bool
    resume: bool

    @classmethod
    def of(cls, config: Config, contents: Mapping[str, str], name: str | None = None) -> RunFolder:
        """The folder of a settled configuration.

        Args:
            contents: sha256 of the data and networks that the run starts from, by what they are.
            name: the folder's name where ``--name`` gives none; derived from ``config`` where this
                is None.
        """
        options = config.options
        fields = type(options).model_fields
        return cls(
            path=Path(options.out)
            / config.command
            / (options.name or name or automatic_name(config)),
            identity=Identity.of(config, contents),
            config=dump_text(to_mapping(config)),
            defaults={"processes": 1}
            | {key: field.get_default(call_default_factory=True) for key, field in fields.items()},
            overwrite=options.overwrite,
            resume=options.resume,
        )

    @property
    def finished(self) -> bool:
        """Whether a run was carried to its end here."""
        return (self.path / results.FILE).is_file()

    def tidy(self) -> None:
        """Remove what only a resumption of the finished run needed."""
        for name in _states(self.path):
            (self.path / name).unlink(missing_ok=True)

    def check_same(self) -> None:
        """Refuse a folder that holds another run, or files that are not advlab's.

        Raises:
            UsageError: it does. Another run is no obstacle under ``--overwrite``; foreign files
                always are.
            EnvironmentFailure: what the folder says of its run is damaged.
        """
        if not self.path.is_dir():
            return
        if not is_run(self.path):
            _refuse_foreign(self.path)
            return
        if self.overwrite:
            return
        recorded = identity.read(self.path)
        differences = (
            self.identity.differences(recorded, self.defaults) if recorded is not None else []
        )
        if "plan" in self.identity.contents and differences:
            # A comparison is known by a hash of all its settings, which says nothing to a person.
            differences = _changed_settings(self.path / CONFIG, self.config) or differences
        if differences:
            text = ", ".join(differences[:3])
            raise UsageError(
                f"{self.path} holds another run ({text}); give this one another --name, or "
                "--overwrite"
            )

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Make the folder this process's own, waiting for any other process that is at work in it.

        The operating system frees the lock of a process that dies, however it dies. Where something
        stops the run before it wrote anything, the folders that were made for it go again.

        Raises:
            UsageError: the folder holds another run, or files that are not advlab's.
            HeldElsewhere: another process is at work in it, ``without_waiting``.
            OSError: it cannot be written.
        """
        new_folders = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        with _locked(self.path):
            try:
                self.check_same()
                yield
            except BaseException:
                _remove_empty(self.path, new_folders)
                raise

    @contextlib.contextmanager
    def begin(self) -> Iterator[None]:
        """Begin or resume the run in the claimed folder, and list every file that is written in it.

        What an interrupted run of the same identity left stays, for its resumption, unless
        ``--overwrite`` or ``--no-resume`` says otherwise. A run that is stopped before it wrote
        anything has never begun.
        """
        if self.overwrite or not self.resume:
            clear(self.path)
        remove_leftovers(self.path)
        try:
            with recording(self.path):
                identity.write(self.path, self.identity)
                write_text(self.path / CONFIG, self.config)
                yield
        except BaseException:
            if set(journal(self.path)) <= {identity.FILE, CONFIG}:
                clear(self.path)
            raise


def is_run(folder: Path) -> bool:
    """Whether advlab began a run in this folder."""
    return (folder / identity.FILE).is_file()


def clear(folder: Path) -> None:
    """Remove the files that advlab wrote in a run's folder, the result first, so that a folder that
    is partly cleared does not look finished."""
    (folder / results.FILE).unlink(missing_ok=True)
    names = list(dict.fromkeys([*journal(folder), *_states(folder)]))
    remove_leftovers(folder)
    for name in names:
        if name != identity.FILE:
            (folder / name).unlink(missing_ok=True)
    inside = {parent for name in names for parent in Path(name).parents} - {Path()}
    for parent in sorted(inside, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):  # somebody else's files are in it
            (folder / parent).rmdir()
    (folder / CHECKSUMS).unlink(missing_ok=True)
    (folder / JOURNAL).unlink(missing_ok=True)
    (folder / identity.FILE).unlink(missing_ok=True)


def contents(folder: Path) -> tuple[list[str], list[str]]:
    """The files in a run's folder that advlab wrote and that are still there, and the names of what
    it did not write."""
    ours = list(dict.fromkeys([*journal(folder), *_states(folder)]))
    foreign = [name for name in _foreign(folder) if name not in ours]
    return [name for name in ours if (folder / name).is_file()], foreign


def remove(folder: Path) -> list[str]:
    """Remove a run: the files that advlab wrote, and the folder where nothing else remains in it.

    Returns:
        Names of files that are not advlab's and were left.

    Raises:
        UsageError: the folder holds no run.
        EnvironmentFailure: another process is at work in it.
    """
    if not is_run(folder):
        raise UsageError(
            f"{folder} holds no run of advlab; 'advlab list' shows those that there are"
        )
    try:
        with FileLock(folder / _LOCK, timeout=0):
            clear(folder)
            foreign = _foreign(folder)
            _remove_empty(folder, [folder])
    except Timeout:
        raise EnvironmentFailure(f"{folder} is in use by another process of advlab") from None
    return foreign


def _remove_empty(folder: Path, candidates: Sequence[Path]) -> None:
    """Remove the folders in ``candidates``, deepest first, as far as they are empty but for the
    lock of ``folder``."""
    if folder not in candidates or [path.name for path in folder.iterdir()] != [_LOCK]:
        return
    with contextlib.suppress(OSError):
        (folder / _LOCK).unlink()
        for empty in candidates:
            empty.rmdir()


def _changed_settings(file: Path, config: str) -> list[str]:
    """The options in which the configuration of an earlier comparison differs from this one's, a
    few words for each; none where the file is missing or damaged."""
    try:
        there, here = (yaml.safe_load(text) for text in (file.read_text(encoding="utf-8"), config))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    if not isinstance(there, dict) or not isinstance(here, dict):
        return []
    unimportant = {"name", "out", "overwrite", "resume", "workers", "cluster", "track"}
    return [
        f"{name} {word(there.get(name))} there, {word(here.get(name))} here"
        for name in dict.fromkeys((*here, *there))
        if name not in unimportant and there.get(name) != here.get(name)
    ]


def _states(folder: Path) -> list[str]:
    """Names of the files in a run's folder that only a resumption needs."""
    listed = [name for name in journal(folder) if _STATE.fullmatch(Path(name).name)]
    present = (
        path.name for path in folder.iterdir() if _STATE.fullmatch(path.name) and path.is_file()
    )
    return list(dict.fromkeys([*listed, *present]))


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that no run was begun in and that holds something all the same.

    Raises:
        UsageError: it does.
    """
    if _is_of_earlier_version(folder):
        raise UsageError(
            f"{folder} holds a run of an earlier version of advlab, which did not write down "
            "what it was made of; "
            "give this run another --name, or remove that folder"
        )
    foreign = _foreign(folder)
    if foreign:
        raise UsageError(
            f"{folder} holds files that advlab did not write ({foreign[0]}); give this run "
            "another --name or --out"
        )


def _foreign(folder: Path) -> list[str]:
    """Names in a folder that advlab did not write there."""
    own = {_LOCK, JOURNAL, CHECKSUMS, *(name.split("/")[0] for name in journal(folder))}
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in own and not TEMPORARY.fullmatch(path.name)
    )


def _is_of_earlier_version(folder: Path) -> bool:
    """Return whether the folder holds a run of an earlier version, without ``identity.json`` and
    without a list of its files."""
    if journal(folder) or not (folder / CONFIG).is_file():
        return False
    return (folder / CONFIG).read_bytes().startswith(b"command: ")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    waiting = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            if not _waits.get():
                raise HeldElsewhere(folder) from None
            if not waiting:
                logger.info(f"another process of advlab is at work in {folder}; waiting for it")
            waiting = True
            time.sleep(_POLL)
            continue
        except FileNotFoundError:  # the other one removed the folder at this very moment
            continue
        if (folder / _LOCK).is_file():
            break
        lock.release()  # what is locked is a file that the other one has removed with its folder
    try:
        yield
    finally:
        lock.release()


def automatic_name(config: Config) -> str:
    """A name from what differs from the component's defaults: ``cnn-mnist-dropout0.5-seed0``.

    The same settings always make the same name, so that the same line typed again finds its run.
    Several processes that share each batch are a setting as well.
    """
    options = config.options
    parts = [getattr(options, "arch", None) or _slug(config.component)]
    for key, value in identity_of(options).items():
        default = type(options).model_fields[key].get_default(call_default_factory=True)
        if key == "arch":  # stands at the front
            continue
        if key == "dataset":
            parts.insert(1, _slug(value))
        elif key in _NETWORKS and value != default:
            parts.append(f"{_NETWORKS[key]}-{_network(str(value))}")
        elif (
            key != "seed"
            and not (key == "model" and getattr(options, "checkpoint", None))
            and value != default
        ):
            parts.append(key.replace("_", "") + _slug(value))
    parts.append(f"seed{options.seed}")
    if current().size > 1:
        parts.append(f"{current().size}processes")
    name = "-".join(parts)
    if len(name) <= 120:
        return name
    return f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def files_in(folder: Path) -> str:
    """The line that ends a report: the folder, and the files and folders in it but hidden ones.

    What differs only in a number, as the files of each epoch or ε, is named once:
    ``epoch_*.png (12 files)``.
    """
    alike: dict[str, list[str]] = {}
    for name in sorted(f"{path.name}{'/' * path.is_dir()}" for path in folder.iterdir()):
        if name[0] != ".":
            alike.setdefault(_NUMBERS.sub("*", name), []).append(name)
    named = [
        f"{pattern} ({len(names)} {'folders' if pattern[-1] == '/' else 'files'})"
        if len(names) > 2
        else ", ".join(names)
        for pattern, names in alike.items()
    ]
    return f"in {folder}: {', '.join(named)}"


def _network(place: str) -> str:
    """The name of a run's folder or checkpoint file, with a hash of its place, since another folder
    may hold the same name; of an ensemble those of all members, in whatever order it lists them."""
    places = sorted(members_of(place)) if names_ensemble(place) else [place]
    place = ",".join(places)
    paths = [Path(one) for one in places]
    name = "+".join(path.stem if path.suffix == ".safetensors" else path.name for path in paths)
    return f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:4]}"


def _slug(value: object) -> str:
    """A value as a part of a file name."""
    if isinstance(value, bool):
        return "" if value else "off"
    text = "+".join(_slug(item) for item in value) if isinstance(value, list) else str(value)
    if isinstance(value, float) and float(f"{value:g}") == value:
        text = f"{value:g}"  # 2, not 2.0
    slug = re.sub(r"[^A-Za-z0-9._+]+", "_", text).strip("_")
    if slug == text:
        return slug
    # Two paths must not become one name.
    return f"{slug[-40:]}_{hashlib.sha256(text.encode()).hexdigest()[:6]}"
