"""``advlab gan compare``: losses, images and figures of several trained generators."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advlab.config.options.gan import MOST_COMPARED
from advlab.config.resolve import Config
from advlab.errors import UsageError
from advlab.experiments.comparison import UNLIKE, differences, shared_conditions
from advlab.experiments.labels import labels_of
from advlab.gan import checkpoint as gan_checkpoint
from advlab.gan.networks import latents, pixels_of
from advlab.gan.trainer import COLUMNS, HISTORY, STEPS
from advlab.logs import logger
from advlab.networks import checkpoint
from advlab.plots.comparison import comparison
from advlab.plots.gan import several
from advlab.plots.mosaic import grid
from advlab.plots.style import save
from advlab.results.comparison import unlike
from advlab.results.gan import (
    FID,
    ComparedGenerator,
    GanCompareResult,
    GanTrainResult,
    GeneratorQuality,
)
from advlab.runs import results
from advlab.runs.files import read_lines, write_text
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import prepare
from advlab.runs.results import Finished
from advlab.runs.table import percent, spread, table

_ACROSS = 12

Trained = Finished[GanTrainResult]


def run(config: Config) -> Finished[GanCompareResult]:
    """``advlab gan compare``: the runs that are named, or all finished ones.

    Raises:
        UsageError: one of them is no finished training of a generator, its generator is not what it
            wrote, or there are fewer than two.
    """
    options = config.options
    trained = (
        [_named(place) for place in options.runs]
        if options.runs
        else _all_trained(Path(options.out))
    )
    places = [run.folder.resolve() for run in trained]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise UsageError(f"--runs: {trained[places.index(twice)].folder} is named twice")
    if len(trained) < 2:
        raise UsageError(
            f"fewer than two finished trainings under {options.out}; --runs names them, 'advlab "
            "gan' makes them"
        )
    if len(trained) > MOST_COMPARED:
        raise UsageError(
            f"{len(trained)} finished trainings lie under {options.out}, and at most "
            f"{MOST_COMPARED} can be compared; --runs names them"
        )
    settings = dict(zip(_settings(trained), trained, strict=True))
    contents = {}
    for setting, run in settings.items():
        contents[f"generator {setting}"] = _sha256_of(run)
        contents[f"metrics {setting}"] = hashlib.sha256(
            (run.folder / results.FILE).read_bytes()
        ).hexdigest()
    settled = config.changed(runs=[str(run.folder) for run in trained])
    experiment = Experiment(
        config=settled,
        contents=contents,
        result=GanCompareResult,
        measure=lambda folder: _measure(settled, settings, folder),
        report=_report,
    )
    return carry_out(experiment)


def _measure(config: Config, settings: Mapping[str, Trained], folder: Path) -> GanCompareResult:
    started = time.perf_counter()
    trained = [run.result for run in settings.values()]
    caption = " and ".join(sorted({result.origin for result in trained}))
    _draw({setting: [run] for setting, run in settings.items()}, folder, caption)
    held = shared_conditions(trained)
    differ = differences(trained, held)
    values = {
        "\n".join(filter(None, [setting, run.result.doubt()])): [run.result.fid]
        for setting, run in settings.items()
    }
    title = f"FID measured {unlike(differ)}: {UNLIKE}" if differ else f"FID {held}"
    drawn = comparison(values, FID.words, title, caption, percent=False)
    save(drawn, folder / "comparison.png")
    models = {result.model for result in trained}
    return GanCompareResult(
        command="gan",
        component="compare",
        dataset=" and ".join(sorted({result.dataset for result in trained})),
        origin=caption,
        model=trained[0].model if len(models) == 1 else None,
        seed=config.options.seed,
        seconds=round(time.perf_counter() - started, 4),
        machine=prepare(config.options).describe(),
        runs=[
            ComparedGenerator(
                setting=setting,
                folder=str(run.folder),
                quality=_quality(run.result),
                sha256=run.result.checkpoint_sha256,
                doubt=run.result.doubt(),
            )
            for setting, run in settings.items()
        ],
        differ=differ,
    )


def _report(result: GanCompareResult) -> None:
    logger.info(_table({run.setting: [(run.quality, run.doubt)] for run in result.runs}))
    if result.differ:
        logger.info(f"FID and the other figures were measured {unlike(result.differ)}: {UNLIKE}")


def conclude(groups: Mapping[str, Sequence[Trained]], folder: Path, caption: str) -> list[str]:
    """Write the tables and figures that a grid of trainings adds to its headline."""
    return [_draw(groups, folder, caption)]


def _draw(groups: Mapping[str, Sequence[Trained]], folder: Path, caption: str) -> str:
    """Losses and images of the first run of each setting, and a table of all figures; the table's
    text."""
    courses = {setting: _course(members[0].folder) for setting, members in groups.items()}
    save(several(courses, "GAN losses of the compared settings", caption), folder / "losses.png")
    rows = [_images(members[0].folder) for members in groups.values()]
    if len({row.shape for row in rows}) == 1:
        title = "Generated images, the first of each run"
        save(
            grid(np.concatenate(rows), title, caption, _ACROSS, list(groups)), folder / "images.png"
        )
    text = _table(
        {
            setting: [(run.result, run.result.doubt()) for run in members]
            for setting, members in groups.items()
        }
    )
    write_text(folder / "quality.md", f"{text}\n\n{caption}\n")
    return text


def _table(groups: Mapping[str, Sequence[tuple[GeneratorQuality, str]]]) -> str:
    """A row for each setting: the figures of its generators, and what speaks against them."""
    rows = []
    doubted = any(doubt for members in groups.values() for _, doubt in members)
    for setting, judged in groups.items():
        members = [quality for quality, _ in judged]
        doubts = "; ".join(dict.fromkeys(filter(None, (doubt for _, doubt in judged))))
        modes = " ".join(f"{one.modes}/{one.real_modes}" for one in members)
        rows.append(
            [
                setting,
                str(len(members)),
                FID.spread([one.fid for one in members]),
                FID.spread([1000 * one.kid for one in members]),
                spread([one.precision for one in members]),
                spread([one.recall for one in members]),
                modes,
                percent(members[0].imbalance)
                if len(members) == 1
                else spread([one.imbalance for one in members]),
                *([doubts or "none"] if doubted else []),
            ]
        )
    return table(
        [
            "setting",
            "runs",
            "FID",
            "KID × 1000",
            "precision",
            "recall",
            "classes",
            "largest deviation of a class",
            *(["doubts"] if doubted else []),
        ],
        rows,
    )


def _quality(result: GanTrainResult) -> GeneratorQuality:
    return GeneratorQuality(**result.model_dump(include=set(GeneratorQuality.model_fields)))


def _course(folder: Path) -> tuple[dict[str, NDArray[np.float64]], list[dict[str, float]]]:
    """The columns of a training's steps, and the lines of its epochs."""
    values = np.loadtxt(folder / STEPS, delimiter=",", skiprows=1, ndmin=2)
    return {name: values[:, place] for place, name in enumerate(COLUMNS, start=1)}, read_lines(
        folder / HISTORY
    )


def _images(folder: Path) -> NDArray[np.uint8]:
    """The first images of a run's generator."""
    pair, metadata, _ = gan_checkpoint.load(folder)
    images: NDArray[np.uint8] = pixels_of(pair.average, latents(0, _ACROSS, metadata.zdim)).numpy()
    return images


def _sha256_of(run: Trained) -> str:
    """The hash of a run's generator, which is what the run wrote."""
    file = run.folder / run.result.checkpoint
    if not file.is_file():
        raise UsageError(
            f"--runs: {run.folder} holds no {run.result.checkpoint}; 'advlab gan' trains it "
            "again with --overwrite"
        )
    checkpoint.check_hash(file)
    return checkpoint.sha256(file)


def _all_trained(out: Path) -> list[Trained]:
    """Every finished training of a generator under ``out``."""
    return [
        Finished(result, folder)
        for folder, result in results.finished_runs(out, "gan")
        if isinstance(result, GanTrainResult)
    ]


def _named(place: str) -> Trained:
    """The finished training in the folder ``place``.

    Raises:
        UsageError: there is none.
    """
    folder = Path(place)
    result = results.read(folder) if (folder / results.FILE).is_file() else None
    if not isinstance(result, GanTrainResult):
        raise UsageError(
            f"--runs: {folder} holds no finished training of a generator; 'advlab gan' makes one"
        )
    return Finished(result, folder)


def _settings(runs: Sequence[Trained]) -> list[str]:
    """What tells the runs apart: the options that differ, and the seed where they do not; their
    names where these are too many, and their folders where that is not enough."""
    labels = labels_of(runs)
    seeded = [
        f"{label}, seed {run.result.seed}" if labels.count(label) > 1 else label
        for label, run in zip(labels, runs, strict=True)
    ]
    return [
        label if seeded.count(label) == 1 else str(run.folder)
        for label, run in zip(seeded, runs, strict=True)
    ]
