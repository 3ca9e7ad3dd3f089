"""Fine-tuning on fractions of the labels, beside training from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from advlab.augmentation.views import Views
from advlab.config.options.contrast import ContrastOptions
from advlab.contrastive.baselines import Labelled, on_few_labels
from advlab.data.image_set import Images, ImageSet, take
from advlab.errors import UsageError
from advlab.experiments.contrast.evaluation import own_accuracy
from advlab.logs import logger
from advlab.results.contrast import FewLabels
from advlab.runs.machine import Machine


@dataclass(frozen=True)
class FewLabelsTrainings:
    """Both trainings on a fraction of the labels.

    Attributes:
        fraction: of the training labels.
        images: how many labelled images that is.
        fine_tuned: started from the trained encoder.
        scratch: started from the encoder's first weights.
    """

    fraction: float
    images: int
    fine_tuned: Labelled
    scratch: Labelled

    def measured(self, data: ImageSet, machine: Machine) -> FewLabels:
        """Test accuracies of the best epochs on validation images."""
        trainings = self.fine_tuned, self.scratch
        fine_tuned, scratch = (own_accuracy(one.best(), data, machine) for one in trainings)
        return FewLabels(
            fraction=self.fraction,
            images=self.images,
            epochs=self.fine_tuned.progress.epoch,
            fine_tuned_accuracy=fine_tuned,
            scratch_accuracy=scratch,
            seconds=round(sum(one.progress.seconds for one in trainings), 4),
        )


def labelled_parts(options: ContrastOptions, images: Images) -> dict[float, Images]:
    """The images whose labels each fraction keeps, drawn by class.

    Raises:
        UsageError: a fraction is less than an image of each class.
    """
    return {fraction: _part(fraction, images, options.seed) for fraction in options.label_fractions}


def trained_on_few(
    trained: nn.Module,
    fresh: nn.Module,
    features: int,
    parts: dict[float, Images],
    data: ImageSet,
    views: Views,
    options: ContrastOptions,
    machine: Machine,
    folder: Path,
) -> list[FewLabelsTrainings]:
    """Train on each part of the images, from the trained encoder and from the fresh one.

    Several processes train together.

    Args:
        features: how many the encoder gives.
        parts: see ``labelled_parts``.
        folder: of the run; each training has a folder in it.
    """

    def one(encoder: nn.Module, fraction: float, start: str) -> Labelled:
        part = parts[fraction]
        logger.info(f"{start}, with {len(part):,} labels ({100 * fraction:g} %)")
        place = folder / f"{start.replace(' ', '-')}-{fraction:g}"
        return on_few_labels(encoder, features, part, data.val, views, options, machine, place)

    return [
        FewLabelsTrainings(
            fraction,
            len(part),
            one(trained, fraction, "fine-tuning"),
            one(fresh, fraction, "from scratch"),
        )
        for fraction, part in parts.items()
    ]


def _part(fraction: float, images: Images, seed: int) -> Images:
    try:
        return take(images, round(fraction * len(images)), seed)
    except UsageError as error:
        raise UsageError(f"--label-fractions {fraction:g}: {error}") from error
