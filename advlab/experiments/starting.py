"""The network that a training starts from: fresh, or with the weights that the options name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advlab.config.base import Options
from advlab.config.model_modules import is_referenced
from advlab.config.options.run import AugmentOptions
from advlab.config.references import names_code, names_library
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.evaluation.checks import probability_check
from advlab.experiments import pretrained
from advlab.input_files import is_plain
from advlab.logs import logger
from advlab.networks import checkpoint, referenced
from advlab.networks.classifier import architecture_of, assemble
from advlab.networks.code_hash import code_hash, refusing_unreadable
from advlab.networks.metadata import IMAGE_CLASSIFIER, ImageClassifierMetadata, read_metadata
from advlab.networks.text import takes_texts
from advlab.networks.weights import check_numbers, check_values, read_state
from advlab.runs.machine import derive

_PROBE = 32  # images on which the outputs of a network are looked at


def settled_architecture(name: str, options: Any) -> Options:
    """What the network is made of, with a library's normalisation where none is given."""
    architecture = architecture_of(name, options)
    if is_referenced(name):
        if names_code(name):
            referenced.trust(name)
        return referenced.settled(name, architecture)  # type: ignore[arg-type]
    return architecture


def starting_network(
    name: str,
    options: Any,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    train: Images,
) -> nn.Sequential:
    """A network of images before its first training step, on the CPU.

    Weights are drawn with the run's seed, then replaced by those of ``--weights``, of the library,
    or of the user's code. With ``--layers last`` only the last layer is trained.

    Args:
        shape: channels, height and width of its images.
        classes: names of its classes, by number. A checkpoint that numbers the same classes in
            another order gets their order.
        train: the training images, whose mean and deviation normalise the images of a network
            that advlab makes itself.

    Raises:
        UsageError: the weights are of another network, the network cannot take such images, or an
            option changes their colours and they are grey.
        EnvironmentFailure: a library's weights cannot be downloaded.
    """
    _check_colours(options, shape)
    check_weights(name, options)  # before a network of the size that they claim is built
    torch.manual_seed(derive(options.seed, 3))
    architecture = settled_architecture(name, options)
    if is_referenced(name):
        statistics = [0.0] * shape[0], [1.0] * shape[0]
    else:
        statistics = channel_statistics(train)
    model = assemble(name, architecture, shape, len(classes), *statistics)
    replaced = _load(model, name, shape, options)
    if replaced is not None:
        logger.info(
            f"{name}: its last layer told {replaced:,} classes apart; a new one with random "
            f"weights for {len(classes):,} stands in its place"
        )
    if is_referenced(name):
        _warn_of_probabilities(model, name, train)
    _put_in_order(model, shape, tuple(classes), options.weights)
    if options.layers == "last":
        _fix_features(model, name, shape)
    return model


def _warn_of_probabilities(model: nn.Module, name: str, train: Images) -> None:
    """Warn of a network that ends in a softmax or a sigmoid: losses and attacks take logits."""
    training = model.training
    model.eval()
    with torch.no_grad(), torch.random.fork_rng():  # a random network draws no other numbers later
        outputs = model(train.inputs(slice(0, _PROBE)))
    model.train(training)
    for sentence in probability_check(outputs).values():
        logger.info(f"WARNING: {name}: {sentence}")


def _check_colours(options: Any, shape: tuple[int, int, int]) -> None:
    """Refuse changes of colour where there is none."""
    if not isinstance(options, AugmentOptions) or shape[0] != 1:
        return
    for name in ("saturation", "hue", "grey"):
        if getattr(options, name):
            raise UsageError(f"--{name}: goes with images in colour; these have one channel")


def check_weights(name: str, options: Any) -> None:
    """Refuse ``--weights`` that the network ``name`` cannot start from, as far as the head of the
    file tells.

    Raises:
        UsageError: there is no such file, or it holds another network.
    """
    weights = None if takes_texts(name) else options.weights
    if weights is None:
        return
    file = _file(weights)
    if not is_referenced(name) or checkpoint.is_image_classifier(file):
        _checked(file, name)


def starting_contents(name: str, options: Any) -> dict[str, str]:
    """sha256 of what a training starts from, by what it is; empty where weights are random.

    Raises:
        UsageError, EnvironmentFailure: as for ``starting_network``.
    """
    contents = {}
    if options.weights is not None:
        contents["weights"] = checkpoint.sha256(_file(options.weights))
    elif names_library(name):
        library = pretrained.load(name)
        contents["weights"] = library.record.sha256
    if names_code(name):
        referenced.trust(name)
        network = referenced.made_by_code(name)
        with refusing_unreadable(name):
            contents["network code"] = code_hash(network)
            if options.weights is None:
                contents["weights"] = checkpoint.sha256_of(network)
    return contents


def channel_statistics(images: Images) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1], from a histogram of the
    bytes."""
    mean, std = [], []
    level = torch.arange(256, dtype=torch.float64) / 255
    for channel in range(images.pixels.shape[1]):
        counts = torch.zeros(256, dtype=torch.float64)
        for part in images.pixels[:, channel].split(4096):
            counts += torch.bincount(part.flatten(), minlength=256)
        fraction = counts / counts.sum()
        centre = float((fraction * level).sum())
        mean.append(centre)
        std.append(max(float((fraction * (level - centre) ** 2).sum()) ** 0.5, 1e-3))
    return mean, std


def _load(model: nn.Sequential, name: str, shape: tuple[int, int, int], options: Any) -> int | None:
    """Load the weights that the options name; those of a library where they name none.

    Returns:
        How many classes the last layer told apart, where it stays random; None where it does not.
    """
    if options.weights is None and not names_library(name):
        return referenced.trainable(model).replaced if is_referenced(name) else None
    file = None if options.weights is None else _file(options.weights)
    other_images = ""
    if file is not None and (not is_referenced(name) or checkpoint.is_image_classifier(file)):
        checkpoint.warn_of_unfinished(file)
        other_images = _other_images(_checked(file, name), shape)
        state: Mapping[str, Tensor] = read_state(file)
        target: nn.Module = model
    elif names_library(name):
        library = pretrained.load(name, options.weights)
        state, target = library.network.state_dict(), referenced.trainable(model[-1]).network
    else:
        assert file is not None
        target = referenced.trainable(model[-1]).network
        state = read_state(file, target.state_dict)
    where = f"--weights: {options.weights}" if file is not None else name
    expected = target.state_dict()
    check_values(state, where)
    check_numbers(state, expected, where)
    layer = referenced.last_layer(target, shape, model)
    return _load_state(target, state, where, name, layer, other_images)


def _other_images(metadata: ImageClassifierMetadata, shape: tuple[int, int, int]) -> str:
    """That a checkpoint is for images of another shape, in words; empty where it is not."""
    own, given = (" × ".join(map(str, size)) for size in (metadata.shape, shape))
    return "" if own == given else f"they are for images of {own}, and these are {given}"


def _load_state(
    target: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    name: str,
    layer: tuple[str, nn.Module] | None,
    other_images: str,
) -> int | None:
    """Load a state dict; a last layer for another number of classes keeps its random weights.

    Args:
        layer: the last layer of the target, with its name.
        other_images: why the weights may not fit, where they are for images of another shape.

    Returns:
        That other number; None where everything was loaded.
    """
    replaced = None
    last = f"{layer[0]}." if layer is not None else None
    expected = target.state_dict()
    # A network may have been saved with heads that only its own training used.
    values = {
        key: value
        for key, value in state.items()
        if key in expected or not key.startswith(("AuxLogits.", "aux1.", "aux2."))
    }
    for key, value in expected.items():
        of_last = last is not None and key.startswith(last) and key in values
        if of_last and len(values[key]) != len(value) and values[key].shape[1:] == value.shape[1:]:
            replaced, values[key] = len(values[key]), value
    try:
        target.load_state_dict(values)
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[1:2]) or str(error)
        raise UsageError(
            f"{where} does not hold weights of {name}: {other_images or reason[:200]}"
        ) from error
    return replaced


def _put_in_order(
    model: nn.Module, shape: tuple[int, int, int], classes: tuple[str, ...], weights: str | None
) -> None:
    """Put the last layer of a checkpoint that names the same classes in another order into theirs.

    Raises:
        UsageError: that does not put the logits in this order.
    """
    if weights is None or not checkpoint.is_image_classifier(Path(weights)):
        return
    names = read_metadata(_file(weights), IMAGE_CLASSIFIER).classes
    if names == classes or sorted(names) != sorted(classes):
        return
    order = [names.index(name) for name in classes]
    images = torch.rand((2, *shape), generator=torch.Generator().manual_seed(0))
    layer = referenced.last_layer(model, shape)
    training = model.training
    model.eval()
    with torch.no_grad():
        before = model(images)
        for values in [] if layer is None else layer[1].parameters():
            values.copy_(values[order])
        reordered = torch.allclose(model(images), before[:, order], atol=1e-4)
    model.train(training)
    if not reordered:
        raise UsageError(
            f"--weights {weights}: numbers the classes in another order ({', '.join(names)}), and "
            "its last layer does not give the logits alone"
        )
    logger.info(
        f"note: {weights} numbers the classes in another order; its last layer is put in that of "
        "the data"
    )


def _fix_features(model: nn.Module, name: str, shape: tuple[int, int, int]) -> None:
    layer = referenced.last_layer(model, shape)
    if layer is None:
        raise UsageError(f"--layers last: {name} has no linear layer or convolution")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in layer[1].parameters():
        parameter.requires_grad_(True)


def _file(weights: str) -> Path:
    """The file that ``--weights`` names: itself, or the checkpoint in the folder of a run.

    Raises:
        UsageError: there is none.
    """
    path = Path(weights)
    try:
        file = checkpoint.locate(path) if path.is_dir() else path
    except UsageError as error:
        raise UsageError(f"--weights: {error}") from error
    if not is_plain(file):
        raise UsageError(f"--weights: no file at {file}")
    return file


def _checked(file: Path, name: str) -> ImageClassifierMetadata:
    """The metadata of a checkpoint that a network can start from.

    Raises:
        UsageError: it is no checkpoint, one of another network, or has input filters.
    """
    try:
        metadata = read_metadata(file, IMAGE_CLASSIFIER)
    except UsageError as error:
        raise UsageError(f"--weights: {error}") from error
    if metadata.model != name and not (names_code(metadata.model) and names_code(name)):
        raise UsageError(f"--weights: {file} holds {metadata.model}, and {name} is trained here")
    if metadata.filters:
        raise UsageError(f"--weights: {file} has input filters; name the network without them")
    if not is_referenced(metadata.model):
        try:
            checkpoint.check_sizes(file, metadata)
        except UsageError as error:
            raise UsageError(f"--weights: {error}") from error
    return metadata
