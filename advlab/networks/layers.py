"""Layers of a network by name, and their outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advlab.components import suggestion
from advlab.errors import UsageError

_MOST_LISTED = 12


def convolutions(body: nn.Module) -> list[str]:
    """Names of the convolutions over images, in the order that the network defines them."""
    return [name for name, part in body.named_modules() if isinstance(part, nn.Conv2d)]


def every(body: nn.Module) -> list[str]:
    """Names of all layers and blocks."""
    return [name for name, _ in body.named_modules() if name]


def layer(body: nn.Module, name: str, known: list[str], what: str) -> nn.Module:
    """The layer of that name, once it is known to be among ``known``.

    Args:
        what: what is asked for, such as "convolution".

    Raises:
        UsageError: it is not; the line suggests the nearest, and lists them.
    """
    if not known:
        raise UsageError(f"the network has no {what} to look at")
    if name not in known:
        part = dict(body.named_modules()).get(name)
        wrong = (
            f"no such layer{suggestion(name, known)}"
            if part is None
            else f"is no {what}, but {type(part).__name__}"
        )
        few = ", ".join(known[:_MOST_LISTED]) + (
            f", … {known[-1]}" if len(known) > _MOST_LISTED else ""
        )
        raise UsageError(f"--layer {name}: {wrong}; there are {few}")
    return body.get_submodule(name)


def output_of(network: nn.Module, part: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What ``part`` gives as the network runs on ``images``, and the network's logits; the graph
    between them is kept.

    Raises:
        UsageError: the network does not run it, or runs it more than once, or it gives no single
            tensor.
    """
    caught: list[Tensor] = []

    def catch(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        caught.append(output)
        # The network goes on with a copy, since the next layer may be a ReLU that overwrites what
        # it is given.
        return output.clone() if isinstance(output, Tensor) else output

    handle = part.register_forward_hook(catch)
    try:
        logits = network(images)
    finally:
        handle.remove()
    if len(caught) != 1 or not isinstance(caught[0], Tensor):
        raise UsageError(
            f"this layer runs {len(caught)} times, or gives no single tensor; choose another "
            "with --layer"
        )
    return caught[0], logits


def map_of(network: nn.Module, part: nn.Module, images: Tensor) -> tuple[Tensor, Tensor, bool]:
    """What ``output_of`` gives, and whether the channels of a map lie last in it: (N, h, w,
    channels) for (N, channels, h, w).

    Swin transformers and the inside of ConvNeXt keep them last. Where they lie is told by the last
    layer that ran before the part's end and works on channels: a linear layer takes them last, a
    convolution second, a permutation moves them.
    """
    last = False
    ended: list[bool] = []

    def note(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal last
        if not ended and isinstance(output, Tensor) and output.ndim == 4:
            last = _channels_last(module, last)

    def end(*_: object) -> None:
        ended.append(True)

    handles = [
        module.register_forward_hook(note)
        for module in network.modules()
        if not list(module.children())
    ]
    handles.append(part.register_forward_hook(end))
    try:
        output, logits = output_of(network, part, images)
    finally:
        for handle in handles:
            handle.remove()
    return output, logits, last


def _channels_last(module: nn.Module, before: bool) -> bool:
    """Whether the channels of a layer's output, of four dimensions, lie last; ``before`` is how
    they lay in what it was given."""
    # Torchvision's Permute; the module is compared by name, since importing it takes seconds.
    if type(module).__qualname__ == "Permute" and isinstance(
        dims := vars(module).get("dims"), list
    ):
        return {(0, 2, 3, 1): True, (0, 3, 1, 2): False}.get(tuple(dims), before)
    if (
        isinstance(module, nn.Linear) or type(module) is nn.LayerNorm
    ):  # torchvision's LayerNorm2d takes them second
        return True
    if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm)):
        return False
    return before


@torch.no_grad()
def responses(network: nn.Module, part: nn.Module, images: Tensor) -> Tensor:
    """What ``part`` gives for ``images``, detached."""
    return output_of(network, part, images)[0].detach()


def computes_as_its_class(module: nn.Module | None, *kinds: type[nn.Module]) -> bool:
    """Whether a module is of one of these classes, not of one derived from it, and nothing was
    hung on to it that changes what it computes."""
    return (
        type(module) in kinds
        and module is not None
        and "forward" not in vars(module)
        and not (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
        )
    )
