"""What is measured of generated images: a little at every look, everything at the end, and the floor that real images reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from advlab.config.gan import GanOptions
from advlab.datasets._set import ImageSet
from advlab.errors import UserError
from advlab.gan._alarm import Variety
from advlab.gan._inception import Inception
from advlab.gan._pair import Pair, latents, pixels_of
from advlab.gan._yardstick import Measured, Yardstick
from advlab.metrics.generative import FEWEST, fid, inception_score, kid, modes, precision_recall
from advlab.runs.machine import derive


def imitated(options: GanOptions, data: ImageSet) -> tuple[Tensor, Tensor]:
    """The images to train on, and real ones that are held out to say what a perfect generator would reach: both uint8.

    With ``--images train`` these are the training split, validation images among them (nothing is selected on them
    here), and the test split. With ``--images all`` every image is trained on, and a random half of them is held out
    of the reference that generated images are compared with.
    """
    splits = [data.train, data.val] + ([data.test] if options.images == "all" else [])
    pixels = torch.cat([part.pixels for part in splits])
    if options.train_size is not None:
        pixels = taken(pixels, options.train_size, derive(options.seed, 13))
    if options.images == "train":
        return pixels, data.test.pixels
    return pixels, pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[: len(pixels) // 2]]


def check_measurable(options: GanOptions, pixels: Tensor, held_out: Tensor, data: ImageSet) -> None:
    """Refuse data whose generator could be trained and not be measured.

    Args:
        pixels: the images that are trained on.
        held_out: the images that are held out.

    Raises:
        UserError: there are too few of either; the line says how many are needed.
    """
    if options.images == "all":  # half of them are held out, the others compared with
        held, reference = ("images to hold out", len(held_out)), ("others to compare with", len(pixels) - len(held_out))
    else:
        held, reference = ("test images", len(held_out)), ("training images", len(pixels))
    for what, count in (held, reference):
        if count < FEWEST:
            more = "; --images all holds out half of all images instead" if what == "test images" else ""
            raise UserError(f"{data.name} has {count:,} {what}, and a generator is measured with at least {FEWEST}{more}")


def taken(pixels: Tensor, count: int, seed: int) -> Tensor:
    """``count`` of the images, or all where there are no more, drawn by ``seed``."""
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
    return pixels[order[:count].sort().values]


class Measurement:
    """Generated images beside real ones, on the features of one yardstick."""

    def __init__(
        self, options: GanOptions, yardstick: Yardstick, pixels: Tensor, held_out: Tensor, inception: Inception | None = None
    ) -> None:
        """Measure the real images once.

        Args:
            pixels: those that are trained on.
            held_out: others of their kind; the same number of generated images is compared, so that both have the same bias.
            inception: a second network to measure with, for FID alone.
        """
        self.options, self.yardstick, self._inception = options, yardstick, inception
        if options.images == "all":  # the other half
            order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
            pixels = pixels[order[len(pixels) // 2 :]]
        self._real = taken(pixels, options.samples, 0), taken(held_out, options.samples, 1)
        self.reference, self.held_out = (yardstick(images) for images in self._real)
        few = taken(pixels, options.look_samples, 2)
        self._few = yardstick(few)
        self._variety = Variety(self._few, few, self.held_out.first(len(few)))
        self.look_floor = fid(self.reference.features, self.held_out.first(len(few)).features)

    def look(self, pair: Pair) -> Mapping[str, float]:
        """Variety and FID on a small sample, as the alarm wants them."""
        generated = self._made(pair, self.options.look_samples, 14)
        measured = self.yardstick(generated)
        return {"fid": fid(self.reference.features, measured.features), **self._variety(measured, generated)}

    def final(self, pair: Pair) -> tuple[dict[str, Any], Measured]:
        """Every figure, with its floor and the numbers of images it was taken from; and what the yardstick says of them all."""
        made = self._made(pair, self.options.samples, 15)
        generated = self.yardstick(made)
        compared = generated.first(len(self.held_out.features))
        figures: dict[str, Any] = {}
        for suffix, measured in (("", compared), ("_floor", self.held_out)):
            figures[f"fid{suffix}"] = fid(self.reference.features, measured.features)
            figures[f"kid{suffix}"], figures[f"kid{suffix}_std"] = kid(self.reference.features, measured.features)
            figures[f"precision{suffix}"], figures[f"recall{suffix}"] = precision_recall(self.reference.features, measured.features)
            figures[f"inception_score{suffix}"] = inception_score(measured.probabilities)
        if self._inception is not None:
            reference, held_out = (self._inception(images) for images in self._real)
            figures["fid_inception"] = fid(reference, self._inception(made[: len(held_out)]))
            figures["fid_inception_floor"] = fid(reference, held_out)
            figures["inception_sha256"] = self._inception.sha256
        found = modes(generated.counts(), self.reference.counts())
        figures |= {
            "modes": found.hit,
            "modes_touched": found.touched,
            "real_modes": int((self.reference.counts() > 0).sum()),
            "imbalance": found.imbalance,
            "kl": found.kl,
            "measured_images": {
                "reference": len(self.reference.features),
                "generated": len(compared.features),
                "held_out": len(self.held_out.features),
                "generated_for_modes": len(generated.features),
            },
        }
        return figures, generated

    def _made(self, pair: Pair, count: int, part: int) -> Tensor:
        return pixels_of(pair.average, latents(derive(self.options.seed, part), count, pair.zdim))
