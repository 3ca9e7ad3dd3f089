"""Settings that depend on the data: networks, views and number of epochs."""

from __future__ import annotations

from advlab.augmentation.views import Views
from advlab.components import load_component
from advlab.config.options.contrast import ContrastOptions
from advlab.contrastive.networks import ENCODERS, is_classifier
from advlab.data.load_images import how_loaded
from advlab.errors import UsageError
from advlab.networks.metadata import EncoderMetadata


def metadata_of(
    options: ContrastOptions, shape: tuple[int, int, int], classes: tuple[str, ...], dataset: str
) -> EncoderMetadata:
    """Return the metadata of the networks that the options describe, with defaults filled in.

    What a classifier is made of is left open.

    Raises:
        UsageError: images of this shape cannot be coloured.
    """
    if shape[0] not in (1, 3):
        raise UsageError(
            f"{dataset}: views are made of images with one channel or three, and its images have "
            f"{shape[0]}"
        )
    name = (
        options.encoder if options.encoder != "auto" else "small" if shape[0] == 1 else "resnet18"
    )
    width = None
    if not is_classifier(name):
        width = options.width or load_component(ENCODERS, name, "encoder").WIDTH
    return EncoderMetadata(
        encoder=name,
        width=width,
        projection=tuple(options.projection),
        shape=shape,
        classes=classes,
        dataset=dataset,
        data=how_loaded(options),
    )


def views_of(options: ContrastOptions, channels: int) -> Views:
    """What views are drawn; drawings in one channel (digits) are neither mirrored nor cut as small
    as photos, but turned a little."""
    grey = channels == 1

    def settled(value: float | None, colour_images: float, grey_images: float) -> float:
        return value if value is not None else grey_images if grey else colour_images

    return Views(
        crop=settled(options.crop, 0.2, 0.3),
        flip=settled(options.flip, 0.5, 0.0),
        degrees=settled(options.degrees, 0.0, 10.0),
        jitter=options.jitter,
        grey=0.0 if grey else options.grey,
        blur=options.blur,
    )


def epochs_of(options: ContrastOptions, images: int) -> int:
    """The epochs asked for; else the usual number, or as many as a small set needs for enough
    steps.

    Raises:
        UsageError: there are too few images for a batch, or a step's batches.
    """
    batches = images // options.batch_size
    if batches < 1:
        raise UsageError(
            f"--batch-size {options.batch_size}: there are {images:,} images to train on; a "
            "batch must be whole"
        )
    steps = -(-batches // options.accumulate)
    return options.epochs or max(options.usual_epochs, -(-options.least_steps // steps))
