"""First-order gains of replacing a word, for every network that reads texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from advlab.networks.text import PADDING, BagOfWords, WeightedPhrases, word_embedding

M = TypeVar("M", bound=nn.Module)
Objective = Callable[[Tensor], Tensor]
"""From logits (N, classes) to a number for each text, (N,)."""


def replacement_gains(network: nn.Module, numbers: Tensor, objective: Objective) -> Tensor:
    """How much an objective rises, to first order, when one word of a text is replaced by another.

    The order is that of the network's first layer: along the difference of two embeddings, or in
    which words or phrases there are. Where everything behind that layer is linear, the gain is
    exact.

    Args:
        network: reads texts; in evaluation mode.
        numbers: words of texts of one length, int64 (N, L), without padding.
        objective: applied to the logits.

    Returns:
        (N, L, words): at [n, i, v] the gain of word v in place i of text n.

    Raises:
        TypeError: the network's first layer is of no known kind.
    """
    phrases = _first(network, WeightedPhrases)
    if phrases is not None:
        with torch.no_grad():
            logits = network(numbers)
        slopes = _gradient(objective, logits)
        with torch.no_grad():
            rows = [phrases.gains(*pair) for pair in zip(numbers, slopes, strict=True)]
        return torch.stack(rows)
    bag = _first(network, BagOfWords)
    layer = bag if bag is not None else word_embedding(network)
    if layer is None:
        raise TypeError(f"{type(network).__name__}: no layer that takes words")
    with _watched(layer) as outputs, torch.enable_grad(), _plain_recurrence():
        total = objective(network(numbers)).sum()
        (gradient,) = torch.autograd.grad(total, outputs)
    with torch.no_grad():
        if isinstance(layer, BagOfWords):
            return _of_presence(numbers, outputs[0], gradient)
        assert isinstance(layer, nn.Embedding)
        present = (gradient * outputs[0]).sum(dim=2, keepdim=True)
        return gradient @ layer.weight.T - present


def _first(network: nn.Module, kind: type[M]) -> M | None:
    return next((module for module in network.modules() if isinstance(module, kind)), None)


def _gradient(objective: Objective, logits: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(objective(leaf).sum(), leaf)
    return slopes


@contextmanager
def _watched(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a layer returns, as a tensor that gradients can be taken of."""
    outputs: list[Tensor] = []

    def watch(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[-1]

    hook = layer.register_forward_hook(watch)
    try:
        yield outputs
    finally:
        hook.remove()


@contextmanager
def _plain_recurrence() -> Iterator[None]:
    """cuDNN takes gradients of recurrent networks in training mode only; torch's own code takes
    them in either."""
    with torch.backends.cudnn.flags(
        enabled=False,
        benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.backends.cudnn.deterministic,
        allow_tf32=torch.backends.cudnn.allow_tf32,
    ):
        yield


def _of_presence(numbers: Tensor, present: Tensor, gradient: Tensor) -> Tensor:
    """The gains where only the presence of words counts: one that is there already brings nothing,
    and of one that comes twice nothing is lost."""
    repeated = (numbers[:, :, None] == numbers[:, None, :]).sum(dim=2) > 1
    lost = gradient.gather(1, numbers).masked_fill(repeated | (numbers == PADDING), 0.0)
    gained = gradient * (1 - present)
    gains: Tensor = gained[:, None, :] - lost[:, :, None]
    return gains
