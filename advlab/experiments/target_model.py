"""The target model of a command: whatever ``--model`` names, as one object, and images for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from advlab.components import class_number
from advlab.config.fields import image_models
from advlab.config.options.run import TargetOptions
from advlab.config.references import is_reference, names_code, names_library
from advlab.config.resolve import Config, to_mapping
from advlab.data import load_images as datasets
from advlab.data.formats.photos import Photo
from advlab.data.image_set import Images, ImageSet
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments import pretrained
from advlab.experiments.trained_classifier import (
    AUTO,
    TrainedClassifier,
    load_classifier,
    newest_or_trained,
)
from advlab.input_files import is_plain
from advlab.networks import checkpoint, class_names, code, referenced
from advlab.networks.adapter import Adapter, part_in_training_mode, unwrapped
from advlab.networks.class_names import ClassNames
from advlab.networks.code_hash import code_hash
from advlab.networks.preprocessing import ColourChannels, Framing, Preprocessing
from advlab.networks.text import takes_texts
from advlab.networks.weights import check_values, read_state
from advlab.perturbation.precision import COMPARED, dependable
from advlab.runs.machine import Machine
from advlab.runs.results import NetworkRecord

_DESCRIBING = ("weights", "output", "mean", "std", "resize", "crop")
"""Options that say more of a network that advlab did not train itself."""


@dataclass(frozen=True)
class TargetModel:
    """A network with what a command must know of it, whoever trained it.

    Attributes:
        network: from images in [0, 1] to logits, in evaluation mode; preprocessing is part of it.
        body: the part of it whose layers have names.
        label: a short name for titles.
        place: what ``--model`` names it by.
        where: what a refusal begins with.
        record: what a result says of it.
        contents: sha256 of everything that makes it what it is, by what it is.
        classes: names of its classes; None where they are unknown.
        trained: the checkpoint, for a network that advlab trained; None for any other.
        preprocessing: what is done to images inside ``network``.
        runs_code: whether it is the user's own code.
    """

    network: nn.Module
    body: nn.Module
    label: str
    place: str
    where: str
    record: NetworkRecord
    contents: Mapping[str, str]
    classes: ClassNames | None
    trained: TrainedClassifier | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    runs_code: bool = False

    @property
    def framing(self) -> Framing | None:
        """What brings an image to the network's own size; None where it takes images as they
        are."""
        first = self.network[0] if isinstance(self.network, nn.Sequential) else None
        return first if isinstance(first, Framing) else None

    @property
    def filtered(self) -> bool:
        """Whether input filters stand in front of it."""
        return self.trained is not None and bool(self.trained.metadata.filters)

    def class_names(self, count: int) -> tuple[str, ...]:
        """Names of its ``count`` classes; numbers where they are unknown."""
        if self.classes is not None and len(self.classes) == count:
            return self.classes.names
        return tuple(f"class {number}" for number in range(count))

    def contents_as(self, role: str) -> dict[str, str]:
        """The contents of a network that is not the target, such as ``surrogate`` and ``surrogate
        code``."""
        return {key.replace("network", role, 1): value for key, value in self.contents.items()}

    def settled(self, config: Config) -> Config:
        """The configuration with the network's place and kind in it, for ``auto`` and aliases."""
        if self.trained is not None and not self.runs_code:
            return config.changed(checkpoint=self.place, model=self.record.model)
        return config.changed(model=self.place, checkpoint=None, factory=None)

    def introduction(self) -> str:
        """A line about the network: where its weights are from, and its preprocessing."""
        source = f", weights {self.record.source}" if not self.runs_code else ""
        return f"network: {self.label}{source}; preprocessing: {self.preprocessing.describe()}"


def title_of(network: NetworkRecord) -> str:
    """What figures call a network: ``my.py:make`` for the user's own code, ``robust (cnn)`` for the
    network of a run, ``torchvision:resnet18`` for one of a library."""
    if network.source is not None and names_code(network.source):
        return Path(network.source).name
    if network.path is None:
        return network.model
    file = Path(network.path)
    name = file.parent.name if file.name == checkpoint.FILE else file.stem
    # The name that a run gets by default begins with the network's component.
    return name if name.startswith(f"{network.model}-") else f"{name} ({network.model})"


# --- which network --------------------------------------------------------------------------------
def named(options: TargetOptions) -> TargetModel | None:
    """The network that ``--model``, ``--checkpoint`` or ``--factory`` names; None where the newest
    one of a component is meant.

    Raises:
        UsageError: there is no such network, several are named, or an option is given that it has
            no use for.
        EnvironmentFailure: weights cannot be downloaded, or timm is not installed.
    """
    check_describing(options)
    given = _given(options)
    if given is None:
        return None
    flag, text = given
    if _is_foreign(flag, text):
        return _foreign(text, flag, options)
    return _of_trained(load_classifier(text, flag))


def check_describing(options: TargetOptions) -> None:
    """Refuse options that describe a network which describes itself. No network is loaded.

    Raises:
        UsageError: such an option is given, or several networks are named.
    """
    given = _given(options)
    if given is None or not _is_foreign(*given):
        _refuse_describing(options, _DESCRIBING)
    elif names_code(given[1]) and _is_checkpoint(options.weights):
        _refuse_describing(options, ("output", "mean", "std", "resize", "crop"))


def _given(options: TargetOptions) -> tuple[str, str] | None:
    """The option that names the network, and its value; None where the newest one of a component
    is meant.

    Raises:
        UsageError: several options name one.
    """
    typed = {"--checkpoint": options.checkpoint, "--factory": options.factory}
    if names_network(options.model):
        typed["--model"] = options.model
    chosen = [(flag, text) for flag, text in typed.items() if text is not None]
    if len(chosen) > 1:
        raise UsageError(
            f"{' and '.join(flag for flag, _ in chosen)} each name a network; leave one of them out"
        )
    return chosen[0] if chosen else None


def _is_foreign(flag: str, text: str) -> bool:
    """Whether the network is one of a library, or the user's own code."""
    return flag != "--checkpoint" and (names_library(text) or names_code(text))


def _is_checkpoint(weights: str | None) -> bool:
    """Whether ``--weights`` names a network that advlab trained."""
    return weights is not None and checkpoint.is_image_classifier(Path(weights))


def _refuse_describing(options: TargetOptions, names: Sequence[str]) -> None:
    """Refuse options that say what a checkpoint of advlab says itself."""
    for name in names:
        if getattr(options, name) is not None:
            trained_at = "; 'advlab train NAME --resize N' trains one that scales its images"
            raise UsageError(
                f"--{name}: goes with --model torchvision:NAME, timm:NAME or your own code; what "
                f"advlab trained is used as it was trained{trained_at if name == 'resize' else ''}"
            )


def named_by(text: str, option: str) -> TargetModel:
    """The network that ``option`` names by ``text``, without further options.

    Raises:
        UsageError: there is no such network.
    """
    if names_library(text) or names_code(text):
        return _foreign(text, option, TargetOptions())
    return _of_trained(load_classifier(text, option))


def newest(
    options: TargetOptions,
    data: ImageSet,
    log: Callable[[str], None],
    check: Callable[[nn.Module], None] | None = None,
) -> TargetModel:
    """The newest network of ``--model`` on the data set; trained first where there is none."""
    return _of_trained(newest_or_trained(options, data, log, check))


def names_network(text: str) -> bool:
    """Whether a value of ``--model`` names one network, and is no component and not ``auto``."""
    return text != AUTO and text not in image_models() and is_reference(text)


def _of_trained(trained: TrainedClassifier) -> TargetModel:
    network = trained.network
    return TargetModel(
        network,
        network[-1] if isinstance(network, nn.Sequential) else network,
        trained.label,
        str(trained.place),
        str(trained.file),
        trained.describe(),
        {"network": trained.sha256},
        ClassNames(tuple(trained.metadata.classes)),
        trained,
    )


def _foreign(text: str, option: str, options: TargetOptions) -> TargetModel:
    """A network of a library, or the user's own code."""
    where = f"{option} {text}"
    known: ClassNames | None = None
    preprocessing = Preprocessing()
    if names_library(text):
        library = pretrained.load(text, options)
        module, known, preprocessing = library.network, library.classes, library.preprocessing
        record = library.record
        contents = {"network": record.sha256}
    elif options.weights is not None and _is_checkpoint(options.weights):
        return _of_own_code(text, options.weights, option)
    else:
        module = unwrapped(code.load(text, where))
        _load_weights(module, options.weights, where)
        sha256 = checkpoint.sha256_of(module)
        record = NetworkRecord(
            model=type(module).__name__, sha256=sha256, path=options.weights, source=text
        )
        contents = {"network": sha256, "network code": code_hash(module)}
    preprocessing = preprocessing.changed(options.resize, options.crop, options.mean, options.std)
    layers, adapter = preprocessing.layers(), Adapter(module, options.output)
    return TargetModel(
        nn.Sequential(*layers, adapter).eval() if layers else adapter,
        module,
        text,
        text,
        where,
        record,
        contents,
        known,
        preprocessing=preprocessing,
        runs_code=not names_library(text),
    )


def _of_own_code(text: str, weights: str, option: str) -> TargetModel:
    """The user's own network with the weights that advlab trained it to, from a checkpoint.

    Raises:
        UsageError: the checkpoint holds another network.
    """
    referenced.trust(text)
    try:
        network, metadata = checkpoint.load(Path(weights), text)
    except UsageError as error:
        raise UsageError(f"--weights: {error}") from error
    file = checkpoint.locate(Path(weights))
    trained = TrainedClassifier(network, metadata, file, checkpoint.sha256(file))
    target = _of_trained(trained)
    body = code_hash(referenced.trainable(network).network)
    return replace(
        target,
        place=text,
        where=f"{option} {text}",
        contents={**target.contents, "network code": body},
        runs_code=True,
    )


def _load_weights(module: nn.Module, weights: str | None, where: str) -> None:
    """Load the state dict that ``--weights`` names into the user's own network."""
    if weights is None:
        return
    state = read_state(Path(weights))
    check_values(state, f"--weights: {weights}")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[1:2]) or str(error)
        raise UsageError(
            f"--weights: {weights} does not hold weights of {where}: {reason[:200]}"
        ) from error


# --- images for it --------------------------------------------------------------------------------
def with_images(
    options: TargetOptions, target: TargetModel | None, device: torch.device
) -> tuple[TargetModel | None, ImageSet]:
    """The images of ``--dataset`` for a network, and the network as it takes them.

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
        if options.model != AUTO and takes_texts(options.model):
            raise UsageError(
                f"--model {options.model}: reads texts, and these attacks are on images"
            )
        return None, _merged(datasets.load(options), options.classes)
    data = _merged(_loaded(options, target), options.classes)
    if target.trained is not None:
        check_fits(target.trained, data)
        return target, _numbered_as(target, data, len(data.classes))
    count, target = _tried(target, data, device)
    target = with_class_names(target, options, count)
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


def with_class_names(target: TargetModel, options: TargetOptions, count: int) -> TargetModel:
    """The network with the names of ``--classes``, where that names a file."""
    if options.classes is None or _is_merger(options.classes):
        return target
    return replace(target, classes=class_names.read(Path(options.classes), count))


def _loaded(options: TargetOptions, target: TargetModel) -> ImageSet:
    if target.trained is not None and options.dataset == "auto":
        metadata = target.trained.metadata
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
        number = getattr(options, "image", None)
        # One image by its number is one of all; else no more are read than are asked for.
        limit = getattr(options, "limit", None) if number is None else None
        return datasets.load_for_testing(options, limit)
    return datasets.load(options)


def _tried(target: TargetModel, data: ImageSet, device: torch.device) -> tuple[int, TargetModel]:
    """How many classes the network tells apart, and the network as it takes the images.

    Raises:
        UsageError: it cannot take them, takes batches of one size only, or returns no logits.
    """
    if data.shape[0] == 1 and not target.runs_code:  # a library's networks take colour images
        target = replace(target, network=nn.Sequential(ColourChannels(3), target.network).eval())
    return count_classes(target, data.test, device), target


def count_classes(target: TargetModel, images: Images, device: torch.device) -> int:
    """How many classes the network tells apart.

    It is shown two images, then one: a program exported for one size of a batch fails then.

    Raises:
        UsageError: it cannot take the images, or returns no logits, or a part of it is in training
            mode.
    """
    target.network.to(device)
    classes = 0
    for count in (2, 1)[-len(images) :]:
        try:
            with torch.no_grad():
                logits = target.network(images.inputs(slice(0, count), device))
        except Exception as error:
            shape = tuple(images.pixels.shape[1:])
            what = "batches of 2, but not of 1" if classes else f"images of {shape}"
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
        raise UsageError(
            f"{trained.file} takes images of {_shape(metadata.shape)} in {len(metadata.classes)} "
            f"classes; {data.name} has {_shape(data.shape)} in {len(data.classes)}"
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


# --- arithmetic -----------------------------------------------------------------------------------
def usable_machine(
    target: TargetModel,
    data: ImageSet,
    machine: Machine,
    precision: str,
    log: Callable[[str], None],
) -> Machine:
    """The machine with a precision of gradients in which attacks on the network are not weaker.

    Where the precision is ``auto``, a network gets gradients in float32 if it needs them; see
    ``advlab.perturbation.precision``.
    """
    if precision != "auto":
        return machine
    images = data.test.inputs(slice(0, COMPARED), machine.device)
    usable, reason = dependable(target.network, images, machine)
    if reason:
        log(f"gradients in fp32: {reason}")
    return usable


# --- images by number -----------------------------------------------------------------------------
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
            f"--image {typed}: a photo goes with --model torchvision:NAME, timm:NAME or your own "
            f"code; of {data.name}, give a test image's number, 0 to {total - 1}"
        )
    if int(typed) >= total:
        raise UsageError(
            f"--image {typed}: {data.name} has {total:,} test images, numbered 0 to {total - 1}"
        )
    return int(typed)


def _shape(shape: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape))
