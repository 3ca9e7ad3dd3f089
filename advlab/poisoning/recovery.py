"""Recovery of triggers by optimisation, and their anomaly index.

Wang et al. 2019, "Neural Cleanse", IEEE Symposium on Security and Privacy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.data.image_set import Images
from advlab.poisoning.backdoored import RecoveredTrigger
from advlab.runs.machine import derive
from advlab.training.optimizers import uncompiled

# All figures are the paper's or those of its published program, except for the number of steps.
_CONSISTENT = 1.4826  # makes the median absolute deviation that of a normal distribution
_OUTLYING = 2.0  # from this anomaly index on a class is flagged
_WANTED = 0.99  # success that a trigger must have
_STEPS = 300
_LEARNING_RATE, _BETAS = 0.1, (0.5, 0.9)
_FIRST_WEIGHT = 1e-3  # of the mask's norm in the loss
_UP, _DOWN = 1.5, 1.5**1.5  # how that weight changes ...
_PATIENCE = 5  # ... after so many steps in a row above the wanted success, or below


def anomaly_indices(norms: Sequence[float]) -> list[float]:
    """Distance of each value from the median, over 1.4826 times the median absolute deviation.

    Where more than half of the values are equal the deviation is 0; then those equal to the median
    have index 0, and all others infinity.
    """
    values = torch.tensor(norms, dtype=torch.float64)
    distances = (values - values.quantile(0.5)).abs()
    scale = _CONSISTENT * distances.quantile(0.5)
    indices = torch.where(distances == 0, torch.zeros_like(distances), distances / scale)
    return [float(index) for index in indices]


def recovered_triggers(
    network: nn.Module,
    clean: Images,
    classes: int,
    device: torch.device,
    most: int,
    seed: int,
) -> tuple[RecoveredTrigger, ...]:
    """The smallest trigger that was found for each class, and which classes are flagged: those
    with an anomaly index above 2 whose trigger is smaller than the median.

    Args:
        network: in evaluation mode, on ``device``.
        clean: images without triggers, with true labels.
        most: how many images a search uses at most, drawn for each class.
        seed: of which images, and of where each search starts.
    """
    recovered = []
    for label in range(classes):
        random = torch.Generator().manual_seed(derive(seed, label))
        rows = (clean.labels != label).nonzero().squeeze(1)
        rows = rows[torch.randperm(len(rows), generator=random)[:most]]
        with _frozen(network):
            recovered.append(_searched(network, clean.inputs(rows, device), label, random))
    norms = [float(mask.sum()) for mask, _, _ in recovered]
    indices = anomaly_indices(norms)
    median = float(torch.tensor(norms, dtype=torch.float64).quantile(0.5))
    return tuple(
        RecoveredTrigger(mask, pattern, norm, success, index, index > _OUTLYING and norm < median)
        for (mask, pattern, success), norm, index in zip(recovered, norms, indices, strict=True)
    )


def _searched(
    network: nn.Module, images: Tensor, label: int, random: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """The smallest mask whose trigger makes 99 % of the images be taken for a class, its pattern,
    and its success; where there is none, the last pattern over the whole image.

    Cross-entropy plus the mask's norm is minimised by Adam, over values whose hyperbolic tangent
    lies in the range of a pixel. The norm's weight rises while the trigger works, and falls while
    it does not.
    """
    mask_values, pattern_values = (
        torch.atanh(1.9 * (torch.rand(shape, generator=random) - 0.5))
        .to(images.device)
        .requires_grad_()
        for shape in (images.shape[2:], images.shape[1:])
    )
    optimizer = uncompiled(torch.optim.Adam)([mask_values, pattern_values], _LEARNING_RATE, _BETAS)
    labels = torch.full((len(images),), label, device=images.device)
    best: tuple[Tensor, Tensor, float] | None = None
    smallest = float("inf")
    weight, above, below = _FIRST_WEIGHT, 0, 0
    for _ in range(_STEPS):
        mask, pattern = (torch.tanh(values) / 2 + 0.5 for values in (mask_values, pattern_values))
        logits = network((1 - mask) * images + mask * pattern).float()
        loss = functional.cross_entropy(logits, labels) + weight * mask.sum()
        success = float((logits.argmax(dim=1) == label).double().mean())
        norm = float(mask.detach().sum())
        if success >= _WANTED and norm < smallest:
            smallest, best = norm, (mask.detach().cpu(), pattern.detach().cpu(), success)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        above, below = (above + 1, 0) if success >= _WANTED else (0, below + 1)
        if above == _PATIENCE:
            weight, above = weight * _UP, 0
        elif below == _PATIENCE:
            weight, below = weight / _DOWN, 0
    if best is not None:
        return best
    whole = torch.tanh(pattern_values.detach()) / 2 + 0.5
    with torch.no_grad():
        reached = network(whole.expand(len(images), -1, -1, -1)).argmax(dim=1) == label
    return torch.ones(images.shape[2:]), whole.cpu(), float(reached.double().mean())


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Take no gradients of the weights while the context lasts: only those of the trigger count."""
    trained = [value for value in network.parameters() if value.requires_grad]
    for value in trained:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value in trained:
            value.requires_grad_(True)
