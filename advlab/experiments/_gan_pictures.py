"""The pictures of a game: grids as it goes, then losses, scores, quality, classes, and the grids as an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from advlab.config.gan import GanOptions
from advlab.datasets._set import ImageSet
from advlab.experiments._gan_measure import Measurement
from advlab.gan._card import Card
from advlab.gan._losses import PROBABILITIES
from advlab.gan._play import Progress
from advlab.plots.gan import balance, losses, quality, scores
from advlab.plots.mosaic import animation, grid, mosaic
from advlab.plots.style import save

_COLUMNS = 8


def draw_grid(folder: Path, epoch: int, images: Tensor, card: Card, data: ImageSet, options: GanOptions) -> None:
    """``epoch_N.png``: the same z in every one of them, so that the eye can follow."""
    caption = f"{data.origin} · {card.arch}, {card.loss}, z of {card.zdim} · seed {options.seed} · the same 64 z at every epoch"
    title = f"Generated after {epoch} epochs" if epoch else "Before training"
    save(grid(images.numpy(), title, caption, _COLUMNS), folder / f"epoch_{epoch}.png")


def draw(folder: Path, metrics: dict[str, Any], progress: Progress, measurement: Measurement, data: ImageSet, card: Card) -> None:
    """All that is drawn once it is over."""
    caption = (
        f"{data.origin} · {card.arch}, {card.loss}, z of {card.zdim} · seed {metrics['seed']} · FID {metrics['fid']:.3g} "
        f"(floor {metrics['fid_floor']:.3g}) on {metrics['yardstick']['model']} {metrics['yardstick']['sha256'][:12]}"
    )
    steps = {name: values.double().numpy() for name, values in progress.steps.items()}
    signs = metrics["signs"]
    save(losses(steps, progress.history, signs, "Losses", caption), folder / "loss_plot.png")
    probabilities = card.loss in PROBABILITIES
    save(scores(steps, progress.history, signs, probabilities, "What the discriminator says", caption), folder / "scores.png")
    floor = measurement.look_floor
    save(quality(progress.looks, signs, floor, progress.kept, "Quality and variety as it trained", caption), folder / "quality.png")
    generated, real = np.array(metrics["classes_generated"]), np.array(metrics["classes_real"])
    if len(generated) == len(data.classes):
        title = f"What the images are of: {metrics['modes']:,} of {metrics['real_modes']:,} classes"
        save(balance(generated, real, data.classes, title, caption), folder / "classes.png")
    animation([mosaic(images.numpy(), _COLUMNS) for _, images in progress.grids], folder / "epochs.gif")
