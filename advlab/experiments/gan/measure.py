"""Measurement of generated images during and after training, beside that of real images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from advlab.data.image_set import ImageSet
from advlab.errors import UsageError
from advlab.gan.collapse_monitor import Diversity
from advlab.gan.feature_classifier import FeatureClassifier, Measured
from advlab.gan.inception import Inception
from advlab.gan.networks import GanNetworks, latents, pixels_of
from advlab.metrics.generative import MIN_IMAGES, fid, inception_score, kid, modes, precision_recall
from advlab.results.gan import GeneratorQuality, MeasuredImages, SampleQuality
from advlab.runs.machine import derive


@dataclass(frozen=True)
class RealImages:
    """The real images that a generator imitates and is measured beside, uint8 (N, C, H, W).

    Attributes:
        split: ``train`` or ``all``, as ``--images`` says.
        trained_on: those that are trained on. With ``train`` they are the training split,
            validation images among them (nothing is selected on them here), and with ``all`` every
            image there is.
        held_out: those of the real-vs-real reference: the test split, or with ``all`` a random half
            of the images that are trained on.
    """

    split: Literal["train", "all"]
    trained_on: Tensor
    held_out: Tensor

    @classmethod
    def of(
        cls, data: ImageSet, split: Literal["train", "all"], count: int | None, seed: int
    ) -> RealImages:
        """The images of a data set; ``count`` of those to train on, drawn by ``seed``, or all."""
        splits = [data.train, data.val] + ([data.test] if split == "all" else [])
        pixels = torch.cat([part.pixels for part in splits])
        if count is not None:
            pixels = taken(pixels, count, derive(seed, 13))
        return cls(split, pixels, data.test.pixels if split == "train" else _halves(pixels)[0])

    @property
    def compared(self) -> Tensor:
        """Those that generated images are compared with: all that are trained on and not held
        out."""
        return self.trained_on if self.split == "train" else _halves(self.trained_on)[1]

    def check_enough(self, name: str) -> None:
        """Refuse a data set of this name whose generator could be trained and not be measured.

        Raises:
            UsageError: there are too few images of either kind; the line says how many are needed.
        """
        held_out, trained_on = len(self.held_out), len(self.trained_on)
        counts = {"test images": held_out, "training images": trained_on}
        if self.split == "all":
            compared = trained_on - held_out
            counts = {"images to hold out": held_out, "others to compare with": compared}
        for what, count in counts.items():
            if count < MIN_IMAGES:
                more = (
                    "; --images all holds out half of all images instead"
                    if what == "test images"
                    else ""
                )
                raise UsageError(
                    f"{name} has {count:,} {what}, and a generator is measured with at least "
                    f"{MIN_IMAGES}{more}"
                )


def _halves(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Two random halves of the images, the same ones each time."""
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    middle = len(pixels) // 2
    return pixels[order[:middle]], pixels[order[middle:]]


def taken(pixels: Tensor, count: int, seed: int) -> Tensor:
    """``count`` of the images, or all where there are no more, drawn by ``seed``."""
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
    return pixels[order[:count].sort().values]


@dataclass(frozen=True)
class RealDistance:
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


@dataclass(frozen=True)
class SampleSizes:
    """How many images are measured: at the end, and at each evaluation of the training."""

    final: int
    evaluation: int


class Measurement:
    """Generated images beside real ones, on the features of one classifier.

    Attributes:
        reference, held_out: what the classifier says of real images.
        few_reference: FID of as many held-out images as are generated while training goes on, or of
            all where these are fewer.
    """

    def __init__(
        self,
        sizes: SampleSizes,
        seed: int,
        feature_classifier: FeatureClassifier,
        real: RealImages,
        inception: Inception | None = None,
    ) -> None:
        """Measure the real images once.

        Args:
            sizes: how many images are measured. As many generated images as held-out ones are
                compared, so that both have the same bias.
            seed: of the generated images.
            inception: a second network to measure with, for FID alone.
        """
        self._sizes, self._seed = sizes, seed
        self.feature_classifier, self._inception = feature_classifier, inception
        compared = real.compared
        self._real = taken(compared, sizes.final, 0), taken(real.held_out, sizes.final, 1)
        self.reference, self.held_out = (feature_classifier(images) for images in self._real)
        few = taken(compared, sizes.evaluation, 2)
        self._few = feature_classifier(few)
        few_held_out = self.held_out.drawn(len(few), 3)
        self._variety = Diversity(self._few, few, few_held_out)
        self.few_reference = RealDistance(
            fid(self.reference.features, few_held_out.features), len(few_held_out.features)
        )

    def evaluate(self, pair: GanNetworks) -> Mapping[str, float]:
        """Variety and FID on a small sample, as the collapse monitor needs them.

        FID falls with the number of images: that of no more images than could be held out is
        taken, so that it compares with the real images' own.
        """
        generated = self._generated(pair, self._sizes.evaluation, 14)
        measured = self.feature_classifier(generated)
        compared = measured.first(self.few_reference.count).features
        return {
            "fid": fid(self.reference.features, compared),
            "fid_images": float(len(compared)),
            **self._variety(measured, generated),
        }

    def final(self, pair: GanNetworks) -> FinalQuality:
        """Every figure of the generator and of held-out real images, with the numbers of images
        they were taken from.

        Raises:
            ValueError: the features are not finite.
        """
        pixels = self._generated(pair, self._sizes.final, 15)
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
        return pixels_of(pair.average, latents(derive(self._seed, part), count, pair.zdim))
