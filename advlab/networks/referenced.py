"""Networks of libraries and of the user's own code as classifiers that can be trained.

Code is run only where the command line or Python named it. A checkpoint that names code is refused
unless the same process was told to trust it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from advlab.config.options.referenced import Architecture
from advlab.config.references import names_code
from advlab.config.robustbench import PREFIX, entry_of
from advlab.errors import UsageError
from advlab.networks import code, robustbench, timm, torchvision
from advlab.networks.adapter import Adapter, PassedOnError, is_exported, unwrapped
from advlab.networks.preprocessing import Preprocessing

_TORCHVISION, _TIMM = "torchvision:", "timm:"
_trusted: set[str] = set()


class Trainable(Adapter):
    """The adapter of a network that is trained: the network inside changes its mode with it.

    Attributes:
        replaced: how many classes the network told apart before its last layer was replaced; None
            where it was not.
    """

    replaced: int | None = None

    def train(self, mode: bool = True) -> Trainable:
        """Set the mode of the network inside, and of this module."""
        nn.Module.train(self, mode)
        return self


def trust(name: str) -> None:
    """Let this process import the code that ``name`` names: the user typed it."""
    _trusted.add(name)


def settled(name: str, architecture: Architecture) -> Architecture:
    """The architecture with the library's normalisation where none is given.

    Images keep their size unless ``resize`` is given: training at the size of the library's own
    weights costs many times as much, and most networks take any.
    """
    if architecture.mean is not None and architecture.std is not None:
        return architecture
    usual = _preprocessing(name)
    normalisation = {
        key: list(values)
        for key, values in (("mean", usual.mean), ("std", usual.std))
        if values is not None and getattr(architecture, key) is None
    }
    return architecture.model_copy(update=normalisation)


def build(
    name: str, architecture: Architecture, shape: tuple[int, int, int], classes: int
) -> nn.Module:
    """The network from images (N, C, H, W) in [0, 1] to logits (N, classes), in evaluation mode.

    A library's network has fresh weights, and the user's own those that its function gives it.
    Where it tells another number of classes apart, its last linear layer or convolution is replaced
    by a fresh one with ``classes`` outputs.

    Raises:
        UsageError: the code was not named on this command line, or the network cannot take images
            of this shape, or has no layer that could be replaced.
    """
    network = _network(name, classes)
    preprocessing = Preprocessing(architecture.resize or None)
    layers = replace(
        preprocessing, mean=_tuple(architecture.mean), std=_tuple(architecture.std)
    ).layers()
    body = nn.Sequential(*layers, Trainable(network)).eval()
    outputs = _outputs(body, name, shape)
    if outputs != classes:
        _replace_last_layer(network, last_layer(network, shape, body), outputs, classes, name)
        _outputs(body, name, shape)
        trainable(body).replaced = outputs
    return body


def trainable(body: nn.Module) -> Trainable:
    """The library's or the user's own module, in its adapter, within what ``build`` returned."""
    return next(part for part in body.modules() if isinstance(part, Trainable))


def last_layer(
    network: nn.Module, shape: tuple[int, int, int], whole: nn.Module | None = None
) -> tuple[str, nn.Linear | nn.Conv2d] | None:
    """Name and module of the linear layer or convolution that is called last, which gives the
    logits, in whatever order layers are defined; None where there is none.

    Args:
        network: whose layers are meant.
        shape: of the images, two of which are put through it.
        whole: what takes the images where that is not the network itself but one around it.

    Raises:
        Exception: as the network does where it cannot take such images.
    """
    called: list[tuple[str, nn.Linear | nn.Conv2d]] = []

    def noting(name: str, part: nn.Linear | nn.Conv2d) -> Callable[..., None]:
        return lambda *_: called.append((name, part))

    hooks = [
        part.register_forward_pre_hook(noting(name, part))
        for name, part in network.named_modules()
        if isinstance(part, (nn.Linear, nn.Conv2d))
    ]
    whole = whole if whole is not None else network
    training = whole.training
    try:
        with torch.no_grad():
            whole.eval()(_grey(whole, shape))
    except PassedOnError:  # it ends within
        pass
    finally:
        whole.train(training)
        for hook in hooks:
            hook.remove()
    return called[-1] if called else None


def _grey(network: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """Two grey images, on the device of the network."""
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    return torch.full((2, *shape), 0.5, device=device)


def _network(name: str, classes: int) -> nn.Module:
    if name.startswith(_TORCHVISION):
        return torchvision.fresh(torchvision.checked(name.removeprefix(_TORCHVISION)), classes)
    if name.startswith(_TIMM):
        return timm.fresh(name.removeprefix(_TIMM), classes)
    if name.startswith(PREFIX):
        return robustbench.fresh(entry_of(name))
    return made_by_code(name)


class CodeNotNamedError(UsageError):
    """A network is made by code that nobody has named.

    Attributes:
        refusal: what is wrong, without the way out, which depends on where the network was named.
        code: the code.
    """

    def __init__(self, message: str, refusal: str = "", code: str = "") -> None:
        """With the whole message, and its parts for whoever knows a better way out."""
        super().__init__(message)
        self.refusal, self.code = refusal, code


def check_trusted(name: str, where: str, typed: str) -> None:
    """Refuse code that the command line has not named.

    Args:
        where: what the refusal begins with.
        typed: what would name it on the command line.

    Raises:
        CodeNotNamedError: it was not named.
    """
    if name not in _trusted:
        refusal = (
            f"{where}its network is made by code, {name}, and code is imported only where the "
            "command line names it"
        )
        raise CodeNotNamedError(f"{refusal}; type {typed}", refusal, name)


def made_by_code(name: str) -> nn.Module:
    """The user's own network, in evaluation mode, with the weights that its function gives it.

    Raises:
        UsageError: the code was not named on this command line, fails, or makes no network that
            can be trained.
    """
    check_trusted(name, "", name)
    network = unwrapped(code.load(name, name))
    if is_exported(network):
        raise UsageError(f"{name}: a program of torch.export cannot be trained")
    return network


def _preprocessing(name: str) -> Preprocessing:
    if name.startswith(_TORCHVISION):
        return torchvision.preprocessing(torchvision.checked(name.removeprefix(_TORCHVISION)))
    if name.startswith(_TIMM):
        return timm.preprocessing(timm.fresh(name.removeprefix(_TIMM), None))
    if name.startswith(PREFIX):
        return robustbench.preprocessing(entry_of(name))
    assert names_code(name)
    return Preprocessing()


def _outputs(body: nn.Module, name: str, shape: tuple[int, int, int]) -> int:
    """How many classes the network tells apart, tried on two grey images."""
    try:
        with torch.no_grad():
            return int(body(_grey(body, shape)).shape[1])
    except Exception as error:
        size = " × ".join(map(str, shape))
        raise UsageError(
            f"{name} cannot take images of {size}: {code.in_one_line(error)}"
        ) from error


def _replace_last_layer(
    network: nn.Module,
    last: tuple[str, nn.Linear | nn.Conv2d] | None,
    outputs: int,
    classes: int,
    name: str,
) -> None:
    features = 0
    if last is not None:
        place, layer = last
        features = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if last is None or features != outputs:
        raise UsageError(
            f"{name}: its network tells {outputs} classes apart and the data have {classes}; its "
            "last linear layer does not give the logits, so that it cannot be replaced"
        )
    fresh: nn.Module
    if isinstance(layer, nn.Linear):
        fresh = nn.Linear(layer.in_features, classes, layer.bias is not None)
    else:
        fresh = nn.Conv2d(
            layer.in_channels,
            classes,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
            bias=layer.bias is not None,
        )
    parent, _, attribute = place.rpartition(".")
    setattr(network.get_submodule(parent), attribute, fresh.to(layer.weight))
    # SqueezeNet keeps the number of classes beside its last convolution.
    for part in network.modules():
        if getattr(part, "num_classes", None) == outputs:
            part.num_classes = classes  # type: ignore[assignment]


def _tuple(values: Iterable[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)
