"""Images for a target model: of a data set, or a photo, as the network takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advlab.components import class_number
from advlab.config.base import Options
from advlab.config.options.run import DataOptions, TargetOptions
from advlab.config.resolve import Config, to_mapping
from advlab.data import load_images as datasets
from advlab.data.formats.photos import Photo
from advlab.data.image_set import Images, ImageSet
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.target_model import TargetModel, named_by, newest
from advlab.experiments.trained_classifier import AUTO, TrainedClassifier
from advlab.input_files import is_plain
from advlab.logs import logger
from advlab.networks import class_names, code
from advlab.networks.adapter import (
    Adapter,
    AmbiguousOutputError,
    copied,
    part_in_training_mode,
    unwrapped,
)
from advlab.networks.preprocessing import ColourChannels
from advlab.networks.text import takes_texts


@dataclass(frozen=True)
class ImageChoice:
    """Which images a network is shown.

    Attributes:
        data: the data set, and how it is read.
        classes: classes of it that count as one, or the file of the network's own class names;
            None for neither.
        limit: how many test images are looked at; None for all.
    """

    data: DataOptions
    classes: str | None
    limit: int | None


def with_images(
    options: TargetOptions, target: TargetModel | None, device: torch.device
) -> tuple[TargetModel | None, ImageSet]:
    """The images that the options choose for a network; see ``with_chosen``.

    Raises:
        UsageError: the network reads texts, or the data do not fit it.
    """
    if target is None and options.model != AUTO and takes_texts(options.model):
        raise UsageError(f"--model {options.model}: reads texts, and these attacks are on images")
    # One image by its number is one of all.
    by_number = getattr(options, "image", None) is not None
    limit = None if by_number else getattr(options, "limit", None)
    choice = ImageChoice(options.part(DataOptions), options.classes, limit)
    return with_chosen(choice, target, device)


def with_chosen(
    choice: ImageChoice, target: TargetModel | None, device: torch.device
) -> tuple[TargetModel | None, ImageSet]:
    """The images that were chosen for a network, and the network as it takes them.

    By default they are those that the network was trained on, where that is known. A network of a
    library gets them at the size that its preprocessing scales to. Grey images are given to a
    network of colour images in three equal channels. Labels become the numbers that the network
    gives to the classes of these names.

    Args:
        target: the network; None where one of the component ``--model`` will be found or trained.

    Raises:
        UsageError: the data do not fit the network.
    """
    if target is None:
        return None, _merged(datasets.load(choice.data), choice.classes)
    data = _merged(_loaded(choice, target), choice.classes)
    if target.trained is not None:
        check_fits(target.trained, data)
        return target, _numbered_as(target, data, len(data.classes))
    count, target = _tried(target, data, device)
    target = with_class_names(target, choice.classes, count)
    return target, _numbered_as(target, data, count)


def as_surrogate(
    text: str, data: ImageSet, device: torch.device, option: str = "--surrogate"
) -> TargetModel:
    """A second network, such as that of ``--surrogate``, which takes the same images.

    Args:
        option: what names it, for a refusal.

    Raises:
        UsageError: there is none, or it does not fit the data.
    """
    surrogate = named_by(text, option)
    if surrogate.trained is not None:
        check_fits(surrogate.trained, data)
        count = len(data.classes)
    else:
        count, surrogate = _tried(surrogate, data, device)
    if not torch.equal(_numbered_as(surrogate, data, count).test.labels, data.test.labels):
        raise UsageError(
            f"{surrogate.where}: it numbers the classes of {data.name} in another order"
        )
    return surrogate


def check_another(surrogate: TargetModel, target: TargetModel) -> None:
    """Refuse the target as its own surrogate: nothing would be transferred.

    Raises:
        UsageError: both are one network.
    """
    same = surrogate.contents == target.contents
    if same and surrogate.preprocessing == target.preprocessing:
        raise UsageError(
            f"--surrogate {surrogate.place}: is the network that is attacked; without --surrogate "
            "images are made on it itself"
        )


def given_or_newest(
    given: TargetModel | None, data: ImageSet, options: TargetOptions
) -> TargetModel:
    """The network that was named, else the newest one on the data set; both are introduced."""
    logger.info(data.introduction())
    target = given or newest(options, data)
    if target.trained is None:
        logger.info(target.introduction())
    return target


def with_class_names(target: TargetModel, classes: str | None, count: int) -> TargetModel:
    """The network with the names of ``--classes``, where that names a file."""
    if classes is None or _is_merger(classes):
        return target
    return replace(target, classes=class_names.read(Path(classes), count))


def _loaded(choice: ImageChoice, target: TargetModel) -> ImageSet:
    options = choice.data
    if target.trained is not None and options.dataset == "auto":
        metadata = target.trained.metadata
        check_data_options(options, metadata.data, target.where)
        recorded = options.model_copy(update={"dataset": metadata.dataset, **metadata.data})
        try:
            return datasets.load(recorded)
        # Nobody asked for that set by name, so it is the checkpoint that cannot be used here
        except EnvironmentFailure as error:
            raise UsageError(
                f"{target.where} was trained on {metadata.dataset}: {error}"
            ) from error
    if options.dataset == "auto" and not target.runs_code:
        raise UsageError(
            f"{target.where}: name a data set with --dataset, such as folder:PATH, or a photo with "
            "--image"
        )
    side = target.preprocessing.resize or target.preprocessing.crop
    if side is not None and options.image_size is None and datasets.is_resizable(options):
        options = options.model_copy(update={"image_size": side})
    if target.trained is None and not target.runs_code:
        return datasets.load_for_testing(options, choice.limit)
    return datasets.load(options)


def check_data_options(options: Options, recorded: Mapping[str, Any], where: str) -> None:
    """Refuse options of the data where these are the ones that a network was trained on.

    Args:
        recorded: with which they were loaded then.
        where: the network, for the refusal.

    Raises:
        UsageError: one is neither the default nor what is recorded.
    """
    for key, value in recorded.items():
        if getattr(options, key, value) not in (value, options.usual(key)):
            raise UsageError(
                f"--{key.replace('_', '-')}: goes with --dataset; without it the data are those "
                f"that {where} was trained on, as they were loaded then"
            )


def _tried(target: TargetModel, data: ImageSet, device: torch.device) -> tuple[int, TargetModel]:
    """How many classes the network tells apart, and the network as it takes the images.

    Raises:
        UsageError: it cannot take them, takes batches of one size only, or returns no logits.
    """
    if data.shape[0] == 1 and not target.runs_code:  # a library's networks take colour images
        target = replace(target, network=nn.Sequential(ColourChannels(3), target.network).eval())
    for part in target.network.modules():
        if isinstance(part, Adapter):
            part.classes = len(data.classes)
    return count_classes(target, data.test, device), target


def count_classes(target: TargetModel, images: Images, device: torch.device) -> int:
    """How many classes the network tells apart.

    It is shown two images, then one: a program exported for one size of a batch fails then.

    Raises:
        UsageError: it cannot take the images, or returns no logits, or a part of it is in training
            mode, or the user's own code cannot be copied.
    """
    target.network.to(device)
    classes = 0
    for count in (2, 1)[-len(images) :]:
        try:
            with torch.no_grad():
                logits = target.network(images.inputs(slice(0, count), device))
        except AmbiguousOutputError as error:
            raise UsageError(f"{target.where}: {error}") from error
        except Exception as error:
            shape = tuple(images.pixels.shape[1:])
            what = "a single image, though it takes two" if classes else f"images of {shape}"
            raise UsageError(
                f"{target.where}: its network cannot take {what} on {device.type}: "
                f"{code.in_one_line(error)}"
            ) from error
        classes = int(logits.shape[1])
        training = part_in_training_mode(target.network)  # as its own eval() or forward() left it
        if training is not None:
            raise UsageError(
                f"{target.where}: its module {training!r} is in training mode after eval() and a "
                "forward pass; dropout and batch statistics would make its outputs depend on "
                "chance and on the batch"
            )
    if target.runs_code:
        try:
            copied(unwrapped(target.body))
        except (TypeError, RuntimeError) as error:
            raise UsageError(
                f"{target.where}: its network cannot be copied, which attacks need: "
                f"{code.in_one_line(error)}"
            ) from error
    return classes


def as_taken(target: TargetModel, photo: Photo, device: torch.device) -> tuple[Photo, int]:
    """The photo as the network takes it, in grey if it has one input channel, and the number of
    classes.

    Raises:
        UsageError: it takes the photo neither in colour nor in grey.
    """
    try:
        return photo, _classes_for(target, photo, device)
    except UsageError as in_colour:
        grey = photo.in_grey()
        try:
            return grey, _classes_for(target, grey, device)
        except UsageError as error:
            in_grey = str(error).removeprefix(f"{target.where}: its network ")
            raise UsageError(f"{in_colour}; in grey it {in_grey}") from error


def _classes_for(target: TargetModel, photo: Photo, device: torch.device) -> int:
    images = Images(photo.pixels[None], torch.zeros(1, dtype=torch.int64))
    return count_classes(target, images, device)


def check_fits(trained: TrainedClassifier, data: ImageSet) -> None:
    """Refuse a network that was trained on other images.

    Raises:
        UsageError: shape or number of classes differ.
    """
    metadata = trained.metadata
    if metadata.shape != data.shape or len(metadata.classes) != len(data.classes):
        (channels, height, width), own = metadata.shape, data.shape
        other_size = own[0] == channels and own != metadata.shape and height == width
        way_out = ""
        if other_size and datasets.names_resizable(data.name):
            way_out = f"; --image-size {height} reads them at that size"
        raise UsageError(
            f"{trained.file} takes images of {_shape(metadata.shape)} in {len(metadata.classes)} "
            f"classes; {data.name} has {_shape(data.shape)} in {len(data.classes)}{way_out}"
        )


def _numbered_as(target: TargetModel, data: ImageSet, count: int) -> ImageSet:
    """The data with the numbers that the network gives to its classes.

    Raises:
        UsageError: the network tells another number of classes apart, and their names do not tell
            which of them are meant.
    """
    numbers = None if target.classes is None else target.classes.numbers_of(data.classes)
    if numbers is not None and target.classes is not None:
        if count == len(numbers) and numbers == sorted(numbers):
            return data
        return data.relabelled(numbers, target.classes.names)
    if count == len(data.classes):
        names = None if target.classes is None else target.classes.names
        if names is None and (order := _order_of_names(data)):
            return replace(data, remarks=(*data.remarks, order))
        if names is None or names == data.classes or len(names) != count:
            return data
        pairs = zip(names, data.classes, strict=True)
        ours, theirs = next(pair for pair in pairs if pair[0] != pair[1])
        remark = (
            f"the network's classes have other names, such as {ours!r} for {theirs!r}, and are "
            "taken in the order of their numbers"
        )
        return replace(data, remarks=(*data.remarks, remark))
    way_out = (
        "; --classes FILE names the network's classes, so that those of the data are found by name"
        if count > len(data.classes)
        else "; --classes 0,1/2,3 makes one class of several of the data"
    )
    raise UsageError(
        f"{target.where}: its network tells {count} classes apart, and {data.name} has "
        f"{len(data.classes)}{way_out}; 'advlab train {target.place} --dataset {data.name}' trains "
        "it on them"
    )


def _order_of_names(data: ImageSet) -> str:
    """A sentence about the order in which a network's outputs are taken, where the names of the
    user's classes gave it; empty where their numbers did."""
    unlike = [number for number, name in enumerate(data.classes) if name != str(number)]
    if ":" not in data.name or not unlike:
        return ""
    first = sorted({0, 1, unlike[0], unlike[-1]} & set(range(len(data.classes))))
    pairs = ", ".join(f"{number} as {data.classes[number]!r}" for number in first)
    return (
        f"the network's outputs are taken in the order of the class names, {pairs}; --classes FILE "
        "lists the names in another order"
    )


def _is_merger(classes: str) -> bool:
    """Whether ``--classes`` lists classes that count as one, and names no file."""
    return "," in classes and "/" in classes and not Path(classes).exists()


def _merged(data: ImageSet, classes: str | None) -> ImageSet:
    """The data with the classes that ``--classes`` makes of theirs.

    Raises:
        UsageError: a class of the data is in none or in two of them.
    """
    if classes is None or not _is_merger(classes):
        return data
    numbers = [-1] * len(data.classes)
    groups = classes.split("/")
    for group, members in enumerate(groups):
        for name in members.split(","):
            number = class_number(name.strip(), data.classes, "--classes", of=f" of {data.name}")
            if numbers[number] >= 0:
                raise UsageError(f"--classes: {data.classes[number]} is named twice")
            numbers[number] = group
    if -1 in numbers:
        missing = data.classes[numbers.index(-1)]
        raise UsageError(f"--classes: {missing}, a class of {data.name}, is in none of the groups")
    return data.relabelled(numbers, tuple(groups))


def loadable(config: Config, target: TargetModel, data: ImageSet, named: bool) -> dict[str, object]:
    """The configuration from which another process loads the same network and images.

    Args:
        config: as it was given.
        named: whether it names the network; else one of a component was found or trained.
    """
    return to_mapping(target.settled(config if named else config.changed(dataset=data.name)))


def image_number(typed: str, data: ImageSet) -> int:
    """The number of a test image.

    Raises:
        UsageError: it is the place of a photo, or there is no image of that number.
    """
    total = len(data.test)
    if not typed.isdecimal():
        if not is_plain(Path(typed)):
            raise UsageError(f"--image {typed}: there is no such file")
        raise UsageError(
            f"--image {typed}: a photo goes with --model torchvision:NAME, another library's "
            f"network or your own code; of {data.name}, give a test image's number, 0 to "
            f"{total - 1}"
        )
    if int(typed) >= total:
        raise UsageError(
            f"--image {typed}: {data.name} has {total:,} test images, numbered 0 to {total - 1}"
        )
    return int(typed)


def _shape(shape: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape))
