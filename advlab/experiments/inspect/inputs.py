"""The network and the image that ``advlab inspect`` shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from advlab.config.options.inspect import InspectOptions
from advlab.config.references import names_library
from advlab.data.formats import image_files, photos
from advlab.data.pixels import to_unit
from advlab.errors import UsageError
from advlab.experiments.target_images import (
    as_taken,
    image_number,
    with_class_names,
    with_images,
)
from advlab.experiments.target_model import TargetModel, named, newest
from advlab.experiments.titles import title_of
from advlab.experiments.trained_classifier import TrainedClassifier
from advlab.runs.machine import prepare


@dataclass(frozen=True)
class InspectedImage:
    """A network and an image for it.

    Attributes:
        network: from images (N, C, H, W) in [0, 1] at its own size to logits, in evaluation mode.
        body: the part of it whose layers are named.
        classes: names by number.
        images: the one image, float (1, C, H, W).
        truth: its class, where it is known.
        label: the network's name in messages.
        origin: a phrase about the image, for captions.
        dataset: the data set it is from, or ``photo``.
        data_sha256: hash of the photo's file, or of the data set.
        target: the network as it was named.
        introduction: lines about the data set; empty for a photo.
    """

    network: nn.Module
    body: nn.Module
    classes: tuple[str, ...]
    images: Tensor
    truth: str | None
    label: str
    origin: str
    dataset: str
    data_sha256: str
    target: TargetModel
    introduction: str = ""

    @property
    def title(self) -> str:
        """The network's name in figures, with its component."""
        return title_of(self.target.record)


def load(
    options: InspectOptions, check: Callable[[nn.Module, Sequence[str]], None]
) -> InspectedImage:
    """The network and the image that the options name; one of our networks is trained where there
    is none.

    Args:
        check: given the part of the network whose layers are named and its classes, raises what
            cannot be looked at. It is called before a network is trained.

    Raises:
        UsageError: either cannot be had as asked.
        EnvironmentFailure: the photo is broken, or weights cannot be downloaded.
    """
    device = prepare(options).device
    if options.image.isdecimal():
        if names_library(options.model) and options.dataset == "auto":
            raise UsageError(
                f"--model {options.model}: --image must name a photo, such as --image photo.jpg, "
                "or --dataset images, such as --dataset folder:PATH"
            )
        target = named(options)
        target, data = with_images(options, target, device)
        number = image_number(options.image, data)
        one = data.test.select(torch.tensor([number]))
        origin = f"test image {number} of {data.origin}"
        target = target or newest(options, data, lambda body: check(body, data.classes))
        return _inspected(
            target,
            data.classes,
            one.inputs(slice(None)),
            data.classes[int(one.labels)],
            origin,
            data.name,
            data.sha256(),
            data.introduction(),
        )
    photo = photos.read(Path(options.image))
    if names_library(options.model) and options.dataset != "auto":
        raise UsageError(
            f"--dataset {options.dataset}: {options.model} is shown a photo, which --image names"
        )
    target = named(options)
    if target is None:
        _, data = with_images(options, None, device)
        target = newest(options, data, lambda body: check(body, data.classes))
    if target.trained is not None:
        images, classes = _fitted(photo, target.trained), target.trained.metadata.classes
        return _inspected(target, classes, images, None, photo.origin, "photo", photo.sha256)
    photo, count = as_taken(target, photo, device)
    target = with_class_names(target, options.classes, count)
    classes = target.class_names(count)
    images = to_unit(photo.pixels[None])
    return _inspected(target, classes, images, None, photo.origin, "photo", photo.sha256)


def _inspected(
    target: TargetModel,
    classes: tuple[str, ...],
    images: Tensor,
    truth: str | None,
    origin: str,
    dataset: str,
    data_sha256: str,
    introduction: str = "",
) -> InspectedImage:
    """The image at the network's own size, in front of what comes after that scaling."""
    network = target.network
    if target.framing is not None:
        assert isinstance(network, nn.Sequential)
        images, network = target.framing(images), network[1:].eval()
        side = images.shape[-1]
        origin = f"{origin}, its middle at {side} × {side}"
    weights = f" · {target.label}"
    if target.record.source is not None and not target.runs_code:
        weights = f" · weights {target.record.source}"
    return InspectedImage(
        network,
        target.body,
        classes,
        images,
        truth,
        target.label,
        f"{origin}{weights}, {target.record.sha256[:12]}",
        dataset,
        data_sha256,
        target,
        introduction,
    )


def _fitted(photo: photos.Photo, trained: TrainedClassifier) -> Tensor:
    """The photo's middle at the size of the network's images, grey where they are."""
    channels, height, width = trained.metadata.shape
    if height != width or channels not in (1, 3):
        raise UsageError(
            f"--image {photo.file}: {trained.file} takes images of {channels} × {height} × "
            f"{width}, which no photo can be made to"
        )
    images = to_unit(image_files.decode([photo.file], height, "photo", keep_grey=False).pixels)
    if channels > 1:
        return images
    from torchvision.transforms.functional import rgb_to_grayscale

    grey: Tensor = rgb_to_grayscale(images)
    return grey
