"""The network and the image that ``advlab inspect`` shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import rgb_to_grayscale

from advlab.config.options.inspect import InspectOptions
from advlab.data.formats import image_files, photos
from advlab.data.pixels import to_unit
from advlab.errors import UsageError
from advlab.experiments import pretrained
from advlab.experiments.target_network import (
    PREFIX,
    TargetModel,
    data_for,
    image_number,
    is_pretrained,
    load_target,
    trained,
)
from advlab.runs.lifecycle import Log
from advlab.runs.results import NetworkRecord


@dataclass(frozen=True)
class InspectedImage:
    """A network and an image for it.

    Attributes:
        network: from images (N, C, H, W) in [0, 1] at its own size to logits, in evaluation mode.
        body: the part of it whose layers are named.
        classes: names by number.
        images: the one image, float (1, C, H, W).
        truth: its class, where it is known.
        label: the network's name in titles.
        origin: a phrase about the image, for captions.
        dataset: the data set it is from, or ``photo``.
        data_sha256: hash of the photo's file, or of the data set.
        record: what a result says of the network.
        place: the checkpoint, for a network of ours; None for one of torchvision's.
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
    record: NetworkRecord
    place: Path | None


def load(
    options: InspectOptions, log: Log, check: Callable[[nn.Module, Sequence[str]], None]
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
    if is_pretrained(options):
        return _of_torchvision(options)
    given = None if options.checkpoint is None else load_target(options.checkpoint, "--checkpoint")
    if options.image.isdecimal():
        data = data_for(options, given)
        number = image_number(options.image, data)
        one = data.test.select(torch.tensor([number]))
        origin = f"test image {number} of {data.origin}"
        subject = given or trained(options, data, log, lambda body: check(body, data.classes))
        return _ours(
            subject,
            one.inputs(slice(None)),
            data.classes[int(one.labels)],
            origin,
            data.name,
            data.sha256(),
        )
    photo = photos.read(Path(options.image))
    if given is None:
        data = data_for(options, None)
        given = trained(options, data, log, lambda body: check(body, data.classes))
    subject = given
    return _ours(subject, _fitted(photo, subject), None, photo.origin, "photo", photo.sha256)


def _of_torchvision(options: InspectOptions) -> InspectedImage:
    if options.image.isdecimal():
        raise UsageError(
            f"--model {options.model}: --image must name a photo, such as --image photo.jpg"
        )
    if options.dataset != "auto":
        raise UsageError(
            f"--dataset {options.dataset}: {options.model} is shown a photo, which --image names"
        )
    photo = photos.read(Path(options.image))
    subject = pretrained.load(options)
    images = subject.framing(to_unit(photo.pixels[None]))
    side = images.shape[-1]
    return InspectedImage(
        subject.network[1:].eval(),
        subject.network[-1],
        subject.classes,
        images,
        None,
        f"{PREFIX}{subject.name}",
        f"{photo.origin}, its middle at {side} × {side} · weights {subject.weights}, "
        f"{subject.sha256[:12]}",
        "photo",
        photo.sha256,
        subject.describe(),
        None,
    )


def _ours(
    subject: TargetModel,
    images: Tensor,
    truth: str | None,
    origin: str,
    dataset: str,
    data_sha256: str,
) -> InspectedImage:
    network = subject.network
    assert isinstance(network, nn.Sequential)
    return InspectedImage(
        network,
        network[-1],
        subject.card.classes,
        images,
        truth,
        subject.label,
        f"{origin} · {subject.label}, {subject.sha256[:12]}",
        dataset,
        data_sha256,
        subject.describe(),
        subject.place,
    )


def _fitted(photo: photos.Photo, subject: TargetModel) -> Tensor:
    """The photo's middle at the size of the network's images, grey where they are."""
    channels, height, width = subject.card.shape
    if height != width or channels not in (1, 3):
        raise UsageError(
            f"--image {photo.file}: {subject.file} takes images of {channels} × {height} × "
            f"{width}, which no photo can be made to"
        )
    images = to_unit(image_files.decode([photo.file], height, "photo", keep_grey=False))
    return rgb_to_grayscale(images) if channels == 1 else images
