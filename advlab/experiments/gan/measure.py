"""Measurement of generated images during and after training, beside that of real images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from advlab.config.options.gan import GanOptions
from advlab.data.image_set import ImageSet
from advlab.errors import UsageError
from advlab.gan.collapse_monitor import Diversity
from advlab.gan.feature_classifier import FeatureClassifier, Measured
from advlab.gan.inception import Inception
from advlab.gan.networks import GanNetworks, latents, pixels_of
from advlab.metrics.generative import MIN_IMAGES, fid, inception_score, kid, modes, precision_recall
from advlab.results.gan import GeneratorQuality, MeasuredImages, SampleQuality
from advlab.runs.machine import derive


def imitated(options: GanOptions, data: ImageSet) -> tuple[Tensor, Tensor]:
    """Return the images to train on, and held-out real images for the real-vs-real reference; both
    uint8.

    With ``--images train`` these are the training split, validation images among them (nothing is
    selected on them here), and the test split. With ``--images all`` every image is trained on, and
    a random half of them is held out of the reference that generated images are compared with.
    """
    splits = [data.train, data.val] + ([data.test] if options.images == "all" else [])
    pixels = torch.cat([part.pixels for part in splits])
    if options.train_size is not None:
        pixels = taken(pixels, options.train_size, derive(options.seed, 13))
    if options.images == "train":
        return pixels, data.test.pixels
    return pixels, pixels[
        torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[: len(pixels) // 2]
    ]


def check_measurable(options: GanOptions, pixels: Tensor, held_out: Tensor, data: ImageSet) -> None:
    """Refuse data whose generator could be trained and not be measured.

    Args:
        pixels: the images that are trained on.
        held_out: the images that are held out.

    Raises:
        UsageError: there are too few of either; the line says how many are needed.
    """
    if options.images == "all":  # half of them are held out, the others compared with
        held, reference = (
            ("images to hold out", len(held_out)),
            ("others to compare with", len(pixels) - len(held_out)),
        )
    else:
        held, reference = ("test images", len(held_out)), ("training images", len(pixels))
    for what, count in (held, reference):
        if count < MIN_IMAGES:
            more = (
                "; --images all holds out half of all images instead"
                if what == "test images"
                else ""
            )
            raise UsageError(
                f"{data.name} has {count:,} {what}, and a generator is measured with at least "
                f"{MIN_IMAGES}{more}"
            )


def taken(pixels: Tensor, count: int, seed: int) -> Tensor:
    """``count`` of the images, or all where there are no more, drawn by ``seed``."""
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
    return pixels[order[:count].sort().values]


@dataclass(frozen=True)
class RealImages:
    """Held-out real images beside others of their kind.

    Attributes:
        fid: their Fréchet distance to these.
        count: how many they are; the distance falls with it.
    """

    fid: float
    count: int


@dataclass(frozen=True)
class FinalQuality:
    """What a trained generator is worth.

    Attributes:
        generator: figures of its images.
        real: the same figures of real images that were held out.
        images: how many were compared.
        generated_fractions, real_fractions: of the images that the classifier takes for each class.
    """

    generator: GeneratorQuality
    real: SampleQuality
    images: MeasuredImages
    generated_fractions: list[float]
    real_fractions: list[float]


class Measurement:
    """Generated images beside real ones, on the features of one classifier.

    Attributes:
        reference, held_out: what the classifier says of real images.
        few_reference: FID of as many held-out images as are generated while training goes on, or of
            all where these are fewer.
    """

    def __init__(
        self,
        options: GanOptions,
        feature_classifier: FeatureClassifier,
        pixels: Tensor,
        held_out: Tensor,
        inception: Inception | None = None,
    ) -> None:
        """Measure the real images once.

        Args:
            pixels: those that are trained on.
            held_out: others of their kind; the same number of generated images is compared, so that
                both have the same bias.
            inception: a second network to measure with, for FID alone.
        """
        self.options, self.feature_classifier, self._inception = (
            options,
            feature_classifier,
            inception,
        )
        if options.images == "all":  # the other half
            order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
            pixels = pixels[order[len(pixels) // 2 :]]
        self._real = taken(pixels, options.samples, 0), taken(held_out, options.samples, 1)
        self.reference, self.held_out = (feature_classifier(images) for images in self._real)
        few = taken(pixels, options.evaluation_samples, 2)
        self._few = feature_classifier(few)
        few_held_out = self.held_out.drawn(len(few), 3)
        self._variety = Diversity(self._few, few, few_held_out)
        self.few_reference = RealImages(
            fid(self.reference.features, few_held_out.features), len(few_held_out.features)
        )

    def evaluate(self, pair: GanNetworks) -> Mapping[str, float]:
        """Variety and FID on a small sample, as the collapse monitor needs them."""
        generated = self._generated(pair, self.options.evaluation_samples, 14)
        measured = self.feature_classifier(generated)
        return {
            "fid": fid(self.reference.features, measured.features),
            **self._variety(measured, generated),
        }

    def final(self, pair: GanNetworks) -> FinalQuality:
        """Every figure of the generator and of held-out real images, with the numbers of images
        they were taken from.

        Raises:
            ValueError: the features are not finite.
        """
        pixels = self._generated(pair, self.options.samples, 15)
        generated = self.feature_classifier(pixels)
        compared = generated.first(len(self.held_out.features))
        inception = (
            None
            if self._inception is None
            else [
                self._inception(images)
                for images in (*self._real, pixels[: len(compared.features)])
            ]
        )
        real_counts = self.reference.counts()
        coverage = modes(generated.counts(), real_counts)
        return FinalQuality(
            generator=GeneratorQuality(
                **self._quality(compared).model_dump(exclude={"fid_inception"}),
                fid_inception=None if inception is None else fid(inception[0], inception[2]),
                modes=coverage.hit,
                modes_touched=coverage.touched,
                real_modes=int((real_counts > 0).sum()),
                imbalance=coverage.imbalance,
                kl=coverage.kl,
            ),
            real=self._quality(self.held_out).model_copy(
                update={
                    "fid_inception": None if inception is None else fid(inception[0], inception[1])
                }
            ),
            images=MeasuredImages(
                reference=len(self.reference.features),
                generated=len(compared.features),
                held_out=len(self.held_out.features),
                generated_for_modes=len(generated.features),
            ),
            generated_fractions=(generated.counts().double() / len(generated.features)).tolist(),
            real_fractions=(real_counts.double() / len(self.reference.features)).tolist(),
        )

    def _quality(self, measured: Measured) -> SampleQuality:
        """Images beside the reference, on the classifier alone."""
        reference = self.reference.features
        kernel_distance, deviation = kid(reference, measured.features)
        precision, recall = precision_recall(reference, measured.features)
        return SampleQuality(
            fid=fid(reference, measured.features),
            kid=kernel_distance,
            kid_std=deviation,
            precision=precision,
            recall=recall,
            inception_score=inception_score(measured.probabilities),
        )

    def _generated(self, pair: GanNetworks, count: int, part: int) -> Tensor:
        return pixels_of(pair.average, latents(derive(self.options.seed, part), count, pair.zdim))
