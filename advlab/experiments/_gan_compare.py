"""Several games beside each other: their losses by step and by epoch, their images, their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advlab.config.resolve import Config
from advlab.errors import UserError
from advlab.gan import _checkpoint
from advlab.gan._pair import latents, pixels_of
from advlab.gan._play import COLUMNS, HISTORY, STEPS
from advlab.plots.comparison import comparison
from advlab.plots.gan import several
from advlab.plots.mosaic import grid
from advlab.plots.style import save
from advlab.runs.files import read_json, read_lines, write_text
from advlab.runs.folder import RunFolder
from advlab.runs.headline import HEADLINES
from advlab.runs.table import percent, table

_ACROSS = 12
_FIGURES = ("fid", "kid", "precision", "recall", "modes", "imbalance")


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """``advlab gan compare``: the runs that are named, or all finished ones.

    Raises:
        UserError: one of them is no finished game, or there are fewer than two.
    """
    options = config.options
    places = options.runs or [str(file.parent) for file in sorted((Path(options.out) / "gan").glob("*/metrics.json")) if _is_game(file)]
    if len(places) < 2:
        raise UserError(f"fewer than two finished games under {options.out}; --runs names them, 'advlab gan' makes them")
    config = config.changed(runs=places)
    games = {label: [_metrics(Path(place))] for label, place in zip(_labels(places), places, strict=True)}
    folder = RunFolder(config)
    with folder.claim():
        said = _drawn(games, folder.path, _caption(games))
        values = {label: [metrics["fid"] for metrics in members] for label, members in games.items()}
        picture = comparison(values, "FID", "FID, the lower the better", _caption(games), percent=False)
        save(picture, folder.path / "comparison.png")
        for line in said:
            say(line)
        one = next(iter(games.values()))[0]
        each = [{"run": label, **{key: members[0][key] for key in _FIGURES}} for label, members in games.items()]
        metrics = folder.finish({"command": "gan", "action": "compare", "dataset": one["dataset"], "runs": each, "seed": options.seed})
    say(f"in {folder.path}: {', '.join(sorted(path.name for path in folder.path.iterdir() if path.suffix in ('.png', '.md')))}")
    return {**metrics, "folder": str(folder.path)}


def conclude(groups: Mapping[str, Sequence[dict[str, Any]]], folder: Path, caption: str) -> list[str]:
    """What a grid of games says beyond its headline."""
    return _drawn(groups, folder, caption)


def _drawn(groups: Mapping[str, Sequence[dict[str, Any]]], folder: Path, caption: str) -> list[str]:
    """Losses and images of the first run of each setting, and a table of all figures; the table's text."""
    runs = {label: _course(Path(members[0]["folder"])) for label, members in groups.items()}
    save(several(runs, "Losses", caption), folder / "losses.png")
    rows = [_images(Path(members[0]["folder"])) for members in groups.values()]
    if len({row.shape for row in rows}) == 1:
        title = "Generated images, the first of each run"
        save(grid(np.concatenate(rows), title, caption, _ACROSS, list(groups)), folder / "images.png")
    text = table(["setting", "runs", "FID", "KID × 1000", "precision", "recall", "classes", "worst class off by"], _rows(groups))
    write_text(folder / "quality.md", f"{text}\n\n{caption}\n")
    return [text]


def _rows(groups: Mapping[str, Sequence[dict[str, Any]]]) -> list[list[str]]:
    headline, share = HEADLINES["fid"], HEADLINES["test_accuracy"]
    rows = []
    for label, members in groups.items():
        of = {key: [metrics[key] for metrics in members] for key in _FIGURES}
        hit = " ".join(f"{metrics['modes']}/{metrics['real_modes']}" for metrics in members)
        thousandths = headline.spread([1000 * value for value in of["kid"]])
        off = percent(of["imbalance"][0]) if len(members) == 1 else share.spread(of["imbalance"])
        figures = [headline.spread(of["fid"]), thousandths, share.spread(of["precision"]), share.spread(of["recall"]), hit, off]
        rows.append([label, str(len(members)), *figures])
    return rows


def _course(folder: Path) -> tuple[dict[str, NDArray[np.float64]], list[dict[str, Any]]]:
    """The columns of a game's steps, and the lines of its epochs."""
    values = np.loadtxt(folder / STEPS, delimiter=",", skiprows=1, ndmin=2)
    return {name: values[:, place] for place, name in enumerate(COLUMNS, start=1)}, read_lines(folder / HISTORY)


def _images(folder: Path) -> NDArray[np.uint8]:
    """The first images of a game's generator."""
    pair, card, _ = _checkpoint.load(folder)
    images: NDArray[np.uint8] = pixels_of(pair.average, latents(0, _ACROSS, card.zdim)).numpy()
    return images


def _is_game(file: Path) -> bool:
    try:
        return read_json(file).get("action") == "train"
    except (OSError, ValueError):
        return False


def _metrics(folder: Path) -> dict[str, Any]:
    file = folder / "metrics.json"
    if not file.is_file() or not _is_game(file):
        raise UserError(f"--runs: {folder} holds no finished game; 'advlab gan' makes one")
    return {**read_json(file), "folder": str(folder)}


def _labels(places: Sequence[str]) -> list[str]:
    """What tells the runs apart: the parts of their names that not all of them share; the whole place where that is not enough."""
    parts = [Path(place).name.split("-") for place in places]
    shared = set(parts[0]).intersection(*parts)
    short = ["-".join(part for part in name if part not in shared) or "default" for name in parts]
    return [label if short.count(label) == 1 else place for label, place in zip(short, places, strict=True)]


def _caption(games: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    return " and ".join(sorted({metrics["origin"] for members in games.values() for metrics in members}))
