"""``advlab gan sample``, ``interpolate`` and ``latent``: images from a trained generator."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from advlab.components import class_number
from advlab.config.options.gan import (
    GeneratorOptions,
    InterpolateOptions,
    LatentOptions,
    SampleOptions,
)
from advlab.config.resolve import Config
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.gan import feature_classifier
from advlab.experiments.trained_classifier import TrainedClassifier
from advlab.gan import checkpoint as gan_checkpoint
from advlab.gan.checkpoint import FILE
from advlab.gan.interpolate import way
from advlab.gan.latent import plane, spread_out
from advlab.gan.networks import GanNetworks, latents, pixels_of
from advlab.gan.sample import drawn, drawn_of
from advlab.logs import logger
from advlab.networks import checkpoint
from advlab.networks.metadata import GeneratorMetadata
from advlab.plots.gan import maps
from advlab.plots.mosaic import animation, grid, mosaic, png
from advlab.plots.style import save
from advlab.results.gan import (
    ExplainedVariance,
    GanInterpolateResult,
    GanLatentResult,
    GanSampleResult,
    GanTrainResult,
)
from advlab.runs import results
from advlab.runs.files import write_atomically
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, prepare
from advlab.runs.results import Finished, NetworkRecord, Result

_MOST_SHOWN = 400  # images in one grid
_MOST_ROWS = 40  # classes in one grid


@dataclass(frozen=True)
class TrainedGenerator:
    """A trained generator.

    Attributes:
        classifier: the one that lies beside it; None where there is none.
    """

    pair: GanNetworks
    metadata: GeneratorMetadata
    file: Path
    sha256: str
    classifier: TrainedClassifier | None

    def network(self, weights: Literal["average", "last"], device: torch.device) -> nn.Module:
        """The network with its last weights or their running average, on the device."""
        network = self.pair.generator if weights == "last" else self.pair.average
        return network.to(device)

    @property
    def caption(self) -> str:
        """The caption of figures: the generator's run and hash."""
        metadata = self.metadata
        epoch = metadata.training.get("epoch")
        return (
            f"{metadata.arch} trained on {metadata.dataset}, {metadata.loss}, "
            f"z of {metadata.zdim}, epoch {epoch} · {self.sha256[:12]}"
        )

    def describe(self) -> NetworkRecord:
        """Return the part of a result that describes the generator."""
        metadata = self.metadata
        return NetworkRecord(
            model=metadata.arch,
            sha256=self.sha256,
            path=str(self.file),
            trained_on=metadata.dataset,
            architecture=metadata.model_dump(
                include={"zdim", "width", "critic_norm", "packing", "averaged"}
            ),
        )


def run(config: Config) -> None:
    """Make what is asked for, unless it is there already.

    Raises:
        UsageError: no generator, no classifier beside it where one is needed, or one of them is not
            what the run wrote.
    """
    source = _source(config.options)
    settled = config.changed(
        generator=str(source.file.parent if source.file.name == FILE else source.file)
    )
    {"sample": _sample, "interpolate": _interpolate, "latent": _latent}[config.component](
        settled, source
    )


def _source(options: GeneratorOptions) -> TrainedGenerator:
    """The generator that is named, or the newest finished one."""
    place = options.generator
    if place is None:
        newest = results.newest(Path(options.out), "gan", GanTrainResult, lambda result: True)
        if newest is None:
            raise UsageError(
                f"no finished generator under {options.out}: 'advlab gan' trains one, and "
                "--generator names one elsewhere"
            )
        place = str(newest.folder)
    pair, metadata, file = gan_checkpoint.load(Path(place))
    checkpoint.warn_of_unfinished(file)
    return TrainedGenerator(
        pair, metadata, file, checkpoint.sha256(file), feature_classifier.beside(file)
    )


def _contents(source: TrainedGenerator, classifier: TrainedClassifier | None) -> dict[str, str]:
    """The generator's hash, and that of the classifier where one is given."""
    return {
        "generator": source.sha256,
        **({} if classifier is None else {"classifier": classifier.sha256}),
    }


def _basis(config: Config, source: TrainedGenerator, machine: Machine, started: float) -> Result:
    """What the results of all three actions begin with."""
    return Result(
        kind=f"gan-{config.component}",
        command="gan",
        component=config.component,
        dataset=source.metadata.dataset,
        origin=source.metadata.dataset,
        model=source.metadata.arch,
        seed=config.options.seed,
        seconds=round(time.perf_counter() - started, 4),
        machine=machine.describe(),
    )


# --- sample ---------------------------------------------------------------------------------------
def _sample(config: Config, source: TrainedGenerator) -> Finished[GanSampleResult]:
    """A grid of images, their pixels in one file, and each in its own where asked."""
    options: SampleOptions = config.options
    classifier = None if options.of_class is None else _own_classifier(source)
    numbers = (
        [] if classifier is None else _class_numbers(options.of_class or "", source, classifier)
    )

    def measure(folder: Path) -> GanSampleResult:
        if classifier is None:
            return _any_class(config, source, folder)
        return (_each_class if options.of_class == "each" else _one_class)(
            config, source, classifier, numbers, folder
        )

    experiment = Experiment(
        config=config,
        contents=_contents(source, classifier),
        result=GanSampleResult,
        measure=measure,
        report=_report_sample,
    )
    return carry_out(experiment)


def _own_classifier(source: TrainedGenerator) -> TrainedClassifier:
    """The classifier that tells classes apart.

    Raises:
        UsageError: none lies beside the generator.
    """
    if source.classifier is None:
        raise UsageError(
            f"--of-class: no classifier lies beside {source.file} ({feature_classifier.FILE}), "
            "so nothing tells its classes apart"
        )
    return source.classifier


def _class_names(source: TrainedGenerator, classifier: TrainedClassifier) -> tuple[str, ...]:
    """The names of the classes that the classifier tells apart; of stacked images, those of all its
    stacks."""
    stacked = source.metadata.shape[0] > classifier.metadata.shape[0]
    return source.metadata.classes if stacked else classifier.metadata.classes


def _class_numbers(
    of_class: str, source: TrainedGenerator, classifier: TrainedClassifier
) -> list[int]:
    """The numbers of the classes that are asked for.

    Raises:
        UsageError: there is no such class, or too many for a picture.
    """
    classes = _class_names(source, classifier)
    if of_class != "each":
        return [class_number(of_class, classes, "--of-class", also=("each",))]
    if len(classes) > _MOST_ROWS or source.metadata.shape[0] != classifier.metadata.shape[0]:
        raise UsageError(
            f"--of-class each: one row for each of {len(source.metadata.classes):,} classes is no "
            "picture; name one"
        )
    return list(range(len(classes)))


def _any_class(config: Config, source: TrainedGenerator, folder: Path) -> GanSampleResult:
    options: SampleOptions = config.options
    started, machine = time.perf_counter(), prepare(options)
    images = drawn(
        source.network(options.weights, machine.device),
        source.metadata.zdim,
        options.count,
        options.seed,
    )
    _write(images, folder, options.files)
    _draw_grid(images, "images", source, options.seed, folder)
    return GanSampleResult(
        **_basis(config, source, machine, started).model_dump(exclude={"kind"}),
        generator=source.describe(),
        weights=options.weights,
        requested=options.count,
        count=len(images),
        generated=options.count,
        of_class=None,
    )


def _one_class(
    config: Config,
    source: TrainedGenerator,
    classifier: TrainedClassifier,
    numbers: list[int],
    folder: Path,
) -> GanSampleResult:
    options: SampleOptions = config.options
    started, machine = time.perf_counter(), prepare(options)
    network, extractor = (
        source.network(options.weights, machine.device),
        feature_classifier.ready(classifier, machine),
    )
    (images,), generated = drawn_of(
        network, source.metadata.zdim, options.count, options.seed, extractor, numbers
    )
    if not len(images):
        raise EnvironmentFailure(
            f"--of-class {options.of_class}: the classifier assigns none of {generated:,} "
            "generated images to this class"
        )
    name = _class_names(source, classifier)[numbers[0]]
    _write(images, folder, options.files)
    _draw_grid(images, f"images of {name}", source, options.seed, folder)
    return GanSampleResult(
        **_basis(config, source, machine, started).model_dump(exclude={"kind"}),
        generator=source.describe(),
        weights=options.weights,
        classifier=classifier.describe(),
        requested=options.count,
        count=len(images),
        generated=generated,
        of_class=name,
    )


def _each_class(
    config: Config,
    source: TrainedGenerator,
    classifier: TrainedClassifier,
    numbers: list[int],
    folder: Path,
) -> GanSampleResult:
    """A row of images for every class that the classifier tells apart."""
    options: SampleOptions = config.options
    started, machine = time.perf_counter(), prepare(options)
    network, extractor = (
        source.network(options.weights, machine.device),
        feature_classifier.ready(classifier, machine),
    )
    classes = _class_names(source, classifier)
    by_class, generated = drawn_of(
        network, source.metadata.zdim, options.count, options.seed, extractor, numbers
    )
    counts = {name: len(images) for name, images in zip(classes, by_class, strict=True)}
    _write(torch.cat(by_class), folder, options.files)
    across = min(20, options.count)
    white = torch.full((across, *source.metadata.shape), 255, dtype=torch.uint8)
    rows = torch.cat([torch.cat([images, white])[:across] for images in by_class])
    few = ", white where there are fewer" if min(counts.values()) < across else ""
    title = f"Generated images of each class, as the frozen classifier takes them, {across} of each"
    caption = f"{source.caption} · seed {options.seed}"
    save(grid(rows.numpy(), title + few, caption, across, classes), folder / "grid.png")
    return GanSampleResult(
        **_basis(config, source, machine, started).model_dump(exclude={"kind"}),
        generator=source.describe(),
        weights=options.weights,
        classifier=classifier.describe(),
        requested=options.count * len(classes),
        count=sum(counts.values()),
        generated=generated,
        of_class="each",
        missing=[name for name, count in counts.items() if not count],
        counts=counts,
    )


def _draw_grid(
    images: Tensor, what: str, source: TrainedGenerator, seed: int, folder: Path
) -> None:
    selected = images[:_MOST_SHOWN]
    title = f"{len(images):,} generated {what}" + (
        f", the first {_MOST_SHOWN}" if len(images) > _MOST_SHOWN else ""
    )
    columns = max(1, min(20, round(len(selected) ** 0.5)))
    save(
        grid(selected.numpy(), title, source.caption + f" · seed {seed}", columns),
        folder / "grid.png",
    )


def _report_sample(result: GanSampleResult) -> None:
    if result.missing:
        logger.info(f"the generator makes no images of {', '.join(result.missing)}")
    if result.counts and result.count < result.requested:
        asked = result.requested // len(result.counts)
        few = {name: count for name, count in result.counts.items() if 0 < count < asked}
        logger.info(
            f"{result.count:,} of {result.requested:,} images that were asked for, out of "
            f"{result.generated:,} that were generated"
            + "".join(f"; {count:,} of {name}" for name, count in few.items())
        )
    elif result.count < result.requested:
        logger.info(
            f"only {result.count:,} of {result.generated:,} images are taken for "
            f"{result.of_class}; {result.requested:,} were asked for"
        )


# --- interpolate ----------------------------------------------------------------------------------
def _interpolate(config: Config, source: TrainedGenerator) -> Finished[GanInterpolateResult]:
    """A strip and an animation for each path."""
    experiment = Experiment(
        config=config,
        contents=_contents(source, None),
        result=GanInterpolateResult,
        measure=lambda folder: _measure_interpolate(config, source, folder),
    )
    return carry_out(experiment)


def _measure_interpolate(
    config: Config, source: TrainedGenerator, folder: Path
) -> GanInterpolateResult:
    options: InterpolateOptions = config.options
    started, machine = time.perf_counter(), prepare(options)
    network = source.network(options.weights, machine.device)
    endpoints = torch.cat([latents(seed, 1, source.metadata.zdim) for seed in options.endpoints])
    paths: list[Literal["lerp", "slerp"]] = (
        ["lerp", "slerp"] if options.path == "both" else [options.path]
    )
    names_of = {"lerp": "straight (lerp)", "slerp": "along the sphere (slerp)"}
    strips, words = [], []
    for path in paths:
        legs = [
            way(start, end, options.frames, path) for start, end in itertools.pairwise(endpoints)
        ]
        for number, leg in enumerate(legs):
            strips.append(pixels_of(network, leg))
            words.append(f"{options.endpoints[number]} → {options.endpoints[number + 1]}\n{path}")
        frames = pixels_of(network, torch.cat(legs))
        animation(
            [mosaic(frame[None].numpy(), 1) for frame in frames], folder / f"{path}.gif", 0.12
        )
    title = f"From one z to another: {' and '.join(names_of[path] for path in paths)}"
    images = torch.cat(strips)
    save(
        grid(images.numpy(), title, source.caption + " · z by their seeds", options.frames, words),
        folder / "strip.png",
    )
    return GanInterpolateResult(
        **_basis(config, source, machine, started).model_dump(exclude={"kind"}),
        generator=source.describe(),
        weights=options.weights,
        endpoints=options.endpoints,
        frames=options.frames,
        paths=paths,
    )


# --- latent ---------------------------------------------------------------------------------------
def _latent(config: Config, source: TrainedGenerator) -> Finished[GanLatentResult]:
    """Draw two maps of the same images: by z, and by the features of the classifier's last hidden
    layer."""
    experiment = Experiment(
        config=config,
        contents=_contents(source, source.classifier),
        result=GanLatentResult,
        measure=lambda folder: _measure_latent(config, source, folder),
    )
    return carry_out(experiment)


def _measure_latent(config: Config, source: TrainedGenerator, folder: Path) -> GanLatentResult:
    options: LatentOptions = config.options
    started, machine = time.perf_counter(), prepare(options)
    z = latents(options.seed, options.count, source.metadata.zdim)
    images = pixels_of(source.network(options.weights, machine.device), z)
    classifier = source.classifier
    measured = None if classifier is None else feature_classifier.ready(classifier, machine)(images)
    single = classifier is not None and source.metadata.shape[0] == classifier.metadata.shape[0]
    labels = measured.labels.numpy() if measured is not None and single else None
    names = () if classifier is None else _class_names(source, classifier)
    panels, explained = [], {}
    for key, words, points in (
        ("z", "z itself", z),
        (
            "features",
            "what the frozen classifier sees",
            None if measured is None else measured.features,
        ),
    ):
        if points is None:
            continue
        places, fractions = plane(points)
        explained[key] = fractions
        by = f"{100 * sum(fractions):.1f} % of the variance in these two directions"
        panels.append(
            (f"{words}: {by}", places.numpy(), spread_out(places, options.drawn).tolist(), labels)
        )
    title = f"{options.count:,} z and the images that they become"
    save(
        maps(panels, images.numpy(), names, title, source.caption + f" · seed {options.seed}"),
        folder / "latent.png",
    )
    tensors = {"z": z, "pixels": images}
    write_atomically(folder / "latent.safetensors", lambda file: file.write(to_bytes(tensors)))
    return GanLatentResult(
        **_basis(config, source, machine, started).model_dump(exclude={"kind"}),
        generator=source.describe(),
        weights=options.weights,
        classifier=None if classifier is None else classifier.describe(),
        count=options.count,
        explained_variance=ExplainedVariance(z=explained["z"], features=explained.get("features")),
    )


# --- shared ---------------------------------------------------------------------------------------
def _write(images: Tensor, folder: Path, files: bool) -> None:
    write_atomically(
        folder / "images.safetensors",
        lambda file: file.write(to_bytes({"pixels": images.contiguous()})),
    )
    if files:
        digits = len(str(len(images) - 1))
        for number, image in enumerate(images.numpy()):
            png(image, folder / f"image_{number:0{digits}d}.png")
