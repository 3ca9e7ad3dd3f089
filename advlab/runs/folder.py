"""A run's folder: ``samples/<command>/<name>/``, locked by one process, finished when it holds ``metrics.json``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from advlab.config.base import identity_of
from advlab.config.resolve import Config, to_mapping
from advlab.config.yamlfile import dump_text, read
from advlab.errors import UserError, WorldError
from advlab.runs.files import read_json, remove_leftovers, write_json, write_text

# Options that hold a network's place, and the word before its name in a run's own name.
_NETWORKS = {"checkpoint": "on", "surrogate": "from", "generator": "of", "yardstick": "by", "inception": "and"}
_CONFIG, _METRICS, _LOCK = "config.yaml", "metrics.json", ".lock"


class RunFolder:
    """The folder of one run, that is of one resolved configuration."""

    def __init__(self, config: Config, name: str | None = None) -> None:
        """The folder that belongs to ``config``, by default under its automatic name; nothing is made on the disk yet."""
        self.config = config
        self.path = Path(config.options.out) / config.command / (config.options.name or name or automatic_name(config))

    @property
    def finished(self) -> bool:
        """Whether a run was carried to its end here."""
        return (self.path / _METRICS).is_file()

    def tidy(self) -> None:
        """Drop what only a resumption needed, where it cannot be dropped too soon: the run is finished."""
        for leftover in self.path.glob("resume*.*"):
            leftover.unlink(missing_ok=True)

    def metrics(self) -> dict[str, Any]:
        """What the finished run reported."""
        return read_json(self.path / _METRICS)

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Make the folder this process's own, with the configuration written down in it.

        What an interrupted run of the same settings left stays, for its resumption, unless ``--overwrite`` or
        ``--no-resume`` says otherwise; a run of other settings is never touched unasked.

        Raises:
            UserError: the folder holds a run of other settings.
            WorldError: another process is at work in it.
            OSError: it cannot be written.
        """
        options = self.config.options
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / _LOCK, timeout=0):
                self._check_same(options.overwrite)
                if options.overwrite or not options.resume:
                    self._clear()
                remove_leftovers(self.path)
                write_text(self.path / _CONFIG, dump_text(to_mapping(self.config)))
                yield
        except Timeout:
            raise WorldError(f"{self.path} is in use by another process of advlab; wait for it, or give this run another --name") from None

    def finish(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Write the result, which makes the run a finished one; then drop what only a resumption needed."""
        write_json(self.path / _METRICS, metrics)
        self.tidy()
        return metrics

    def check_unchanged(self) -> None:
        """Refuse a folder that holds a run of other settings.

        Raises:
            UserError: it does, and ``--overwrite`` was not given.
        """
        self._check_same(self.config.options.overwrite)

    def _check_same(self, overwrite: bool) -> None:
        file = self.path / _CONFIG
        if overwrite or not file.is_file():
            return
        there, here = read(file).values, _comparable(self.config)
        # An option that the earlier run did not know is one that it did without.
        fields = type(self.config.options).model_fields
        unset = {key: fields[key].get_default(call_default_factory=True) for key in here if key in fields}
        changed = [key for key, value in here.items() if there.get(key, unset.get(key)) != value]
        if changed:
            shown = ", ".join(f"{key} {there.get(key)} there, {here[key]} here" for key in changed[:3])
            raise UserError(f"{self.path} holds a run of other settings ({shown}); give this one another --name, or --overwrite")

    def _clear(self) -> None:
        """Remove the files of an earlier run, its result first, so that it never looks finished half-way."""
        (self.path / _METRICS).unlink(missing_ok=True)
        for file in self.path.iterdir():
            if file.is_file() and file.name != _LOCK:
                file.unlink()


def _comparable(config: Config) -> dict[str, Any]:
    """The settings that make a run what it is, as they come back from its YAML file."""
    identity = identity_of(config.options)
    return {key: json.loads(json.dumps(value)) for key, value in to_mapping(config).items() if key in identity}


def automatic_name(config: Config) -> str:
    """A name from what differs from the component's defaults: ``cnn-mnist-dropout0.5-seed0``.

    The same settings always make the same name, so that the same line typed again finds its run.
    """
    options = config.options
    parts = [getattr(options, "arch", None) or config.component]
    for key, value in identity_of(options).items():
        default = type(options).model_fields[key].get_default(call_default_factory=True)
        if key == "arch":  # stands at the front
            continue
        if key == "dataset":
            parts.insert(1, _slug(value))
        elif key in _NETWORKS and value != default:
            parts.append(f"{_NETWORKS[key]}-{_network(str(value))}")
        elif key != "seed" and not (key == "model" and getattr(options, "checkpoint", None)) and value != default:
            parts.append(key.replace("_", "") + _slug(value))
    parts.append(f"seed{options.seed}")
    name = "-".join(parts)
    if len(name) <= 120:
        return name
    return f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def _network(place: str) -> str:
    """The name of a run's folder or checkpoint file, with a hash of its place, since another folder may hold the same name."""
    path = Path(place)
    return f"{path.stem if path.suffix == '.safetensors' else path.name}-{hashlib.sha256(place.encode()).hexdigest()[:4]}"


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


def newest_finished(out: Path, command: str, *, unlike: Mapping[str, object] | None = None, **wanted: object) -> Path | None:
    """The newest finished run of a command whose ``metrics.json`` holds the wanted values, and none of the unlike ones; or None."""
    found = []
    for file in (out / command).glob(f"*/{_METRICS}"):
        with contextlib.suppress(OSError, ValueError):
            metrics = read_json(file)
            other = all(metrics.get(key) != value for key, value in (unlike or {}).items())
            if other and all(metrics.get(key) == value for key, value in wanted.items()):
                found.append((file.stat().st_mtime_ns, file.parent))
    return max(found)[1] if found else None
