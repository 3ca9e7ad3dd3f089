"""Figures of ``advlab gan train``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from advlab.config.references import dataset_title
from advlab.data.image_set import ImageSet
from advlab.experiments.gan.measure import RealDistance
from advlab.gan.losses import PROBABILITIES
from advlab.gan.trainer import GanProgress
from advlab.networks.metadata import GeneratorMetadata
from advlab.plots.gan import balance, losses, quality, scores
from advlab.plots.mosaic import animation, grid, mosaic
from advlab.plots.style import save
from advlab.results.gan import GanTrainResult
from advlab.runs.table import counted

_COLUMNS = 8


def draw_grid(
    folder: Path,
    epoch: int,
    images: Tensor,
    metadata: GeneratorMetadata,
    data: ImageSet,
    seed: int,
) -> None:
    """``epoch_N.png``: the same z in every one of them, so that the eye can follow."""
    caption = (
        f"{data.origin} · {metadata.arch}, {metadata.loss}, z of {metadata.zdim} · "
        f"seed {seed} · the same 64 z at every epoch"
    )
    when = f"after epoch {epoch}" if epoch else "before training"
    title = f"Generated images {when}: {metadata.arch} on {dataset_title(data.name)}"
    save(grid(images.numpy(), title, caption, _COLUMNS), folder / f"epoch_{epoch}.png")


def draw(
    folder: Path,
    result: GanTrainResult,
    progress: GanProgress,
    few_reference: RealDistance,
    samples: int,
    data: ImageSet,
    metadata: GeneratorMetadata,
) -> None:
    """All that is drawn once it is over.

    Args:
        few_reference: FID of about as many real images as each evaluation generates.
        samples: how many images each evaluation generates. Where fewer real ones could be held
            out, the FID is of as many.
    """
    classifier = result.classifier
    caption = (
        f"{data.origin} · {metadata.arch}, {metadata.loss}, z of {metadata.zdim} · "
        f"{result.examples.train:,} training images · seed {result.seed} · FID {result.fid:.3g} of "
        f"{counted(result.measured_images.generated, 'image')} "
        f"(real images {result.real_reference.fid:.3g}) on {classifier.model} "
        f"{classifier.sha256[:12]}"
    )
    name = f"{metadata.arch} on {dataset_title(data.name)}"
    steps = {key: values.double().numpy() for key, values in progress.steps.items()}
    marks = [(indicator.epoch, indicator.name) for indicator in result.indicators]
    save(
        losses(steps, progress.history, marks, f"GAN losses: {name}", caption),
        folder / "loss_plot.png",
    )
    probabilities = metadata.loss in PROBABILITIES
    save(
        scores(
            steps,
            progress.history,
            marks,
            probabilities,
            f"Scores of the discriminator: {name}",
            caption,
        ),
        folder / "scores.png",
    )
    drawn = _quality(progress, marks, few_reference, samples, name, caption)
    save(drawn, folder / "quality.png")
    generated, real = (
        np.array(result.generated_class_fractions),
        np.array(result.real_class_fractions),
    )
    if len(generated) == len(data.classes):
        title = f"Classes of generated images, {result.modes:,} of {result.real_modes:,}: {name}"
        save(balance(generated, real, data.classes, title, caption), folder / "classes.png")
    animation(
        [mosaic(images.numpy(), _COLUMNS) for _, images in progress.grids], folder / "epochs.gif"
    )


def _quality(
    progress: GanProgress,
    marks: list[tuple[int, str]],
    few_reference: RealDistance,
    samples: int,
    name: str,
    caption: str,
) -> Figure:
    evaluations = progress.evaluations
    variety = {
        "classes generated": [one["modes"] / one["real_modes"] for one in evaluations],
        "evenness of classes": [one["evenness"] for one in evaluations],
        "distance between images": [one["spread"] for one in evaluations],
        "images that are no near-copies": [1 - one["duplicates"] for one in evaluations],
    }
    epochs, distances = [one["epoch"] for one in evaluations], [one["fid"] for one in evaluations]
    images = evaluations[-1].get("fid_images") or samples  # not stored by earlier versions
    return quality(
        epochs,
        distances,
        variety,
        marks,
        few_reference.fid,
        few_reference.count,
        progress.kept,
        images,
        f"Quality and variety during training: {name}",
        caption,
    )
