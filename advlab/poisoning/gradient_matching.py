"""Gradient matching: training images whose gradient is that of a mistake on one test image.

Geiping, Fowl, Huang, Czaja, Taylor, Moeller & Goldstein 2021, arXiv:2009.02276 (Witches' Brew). The
poison lowers the loss of its own true labels only, and with it, since the gradients point the same
way, the loss of a wrong label on the test image, which no training ever sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.data.image_set import Images
from advlab.poisoning.images import Perturbed
from advlab.runs.machine import Machine

_FIRST_STEP = 0.2  # of Adam, in units of eps
_SLOWER = 0.1  # the step after each of the milestones, of the step before
_MILESTONES = (3 / 8, 5 / 8, 7 / 8)  # of all steps
_AT_A_TIME = 128  # images whose graph of second derivatives is kept


def matched(
    network: nn.Module,
    poison: Images,
    aimed: Images,
    target: int,
    *,
    eps: float,
    steps: int,
    restarts: int,
    machine: Machine,
    seed: int,
    done: Callable[[], object] = lambda: None,
) -> Perturbed:
    """Perturb training images so that training on them turns test images into the target class.

    From random points of the ball, Adam descends on the cosine distance between the gradient of the
    loss that training sees, of the images with their true labels, and that of the loss that the
    attacker wants to fall, of the test images with the target as their label; both with respect to
    the parameters of a network that was trained on clean images. Adam is given the signs of the
    gradient. The restart that comes nearest is kept.

    Args:
        network: in evaluation mode, on the machine's device. It is the attacker's; the victim's has
            other weights. Its parameters' ``requires_grad`` and gradients stay as they are.
        poison: the images to perturb, with their labels, which stay.
        aimed: the test images. Their labels are not read.
        target: the class that they are to get.
        eps: L∞ radius of the perturbations, in units of pixels. Rounding to 8 bits can add half a
            grey level.
        steps: of each restart.
        seed: of the random points.
        done: called after every step.
    """
    weights = [weight.detach().requires_grad_() for weight in network.parameters()]
    names = [name for name, _ in network.named_parameters()]
    state = dict(network.named_buffers())

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        parameters = dict(zip(names, weights, strict=True))
        logits = torch.func.functional_call(network, parameters | state, (images,))
        return functional.cross_entropy(logits, labels, reduction="sum")

    everything = slice(None)
    wanted_labels = torch.full((len(aimed),), target, device=machine.device)
    wanted_loss = loss(aimed.inputs(everything, machine.device), wanted_labels)
    wanted = torch.autograd.grad(wanted_loss, weights, allow_unused=True)
    clean, labels = poison.inputs(everything, machine.device), poison.labels.to(machine.device)
    random = torch.Generator().manual_seed(seed)
    best, nearest = clean, float("inf")
    for _ in range(restarts):
        start = 2 * torch.rand(clean.shape, generator=random) - 1
        moved = (clean + eps * start.to(machine.device)).clamp(0, 1)
        optimizer = torch.optim.Adam([moved], lr=_FIRST_STEP * eps)
        milestones = [round(part * steps) for part in _MILESTONES]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=_SLOWER)
        for _ in range(steps):
            _, slope = distance_and_slope(loss, weights, wanted, moved, labels)
            moved.grad = slope.sign()
            optimizer.step()
            schedule.step()
            moved.clamp_(clean - eps, clean + eps).clamp_(0, 1)
            done()
        distance, _ = distance_and_slope(loss, weights, wanted, moved, labels)
        if distance < nearest:
            best, nearest = moved, distance
    return Perturbed(best.mul(255).round().to(torch.uint8).cpu(), nearest)


def distance_and_slope(
    loss: Callable[[Tensor, Tensor], Tensor],
    weights: Sequence[Tensor],
    wanted: Sequence[Tensor | None],
    images: Tensor,
    labels: Tensor,
) -> tuple[float, Tensor]:
    """The cosine distance between two gradients with respect to weights, and its own gradient with
    respect to images.

    Args:
        loss: the sum of the losses of images (N, C, H, W) with labels (N,), a function of the
            weights.
        wanted: a gradient with respect to the weights; None where it does not depend on them.
        images: whose loss has the other gradient.

    Returns:
        1 less the cosine, and its gradient, shaped as the images.
    """
    images = images.detach().requires_grad_()
    parts = list(zip(images.split(_AT_A_TIME), labels.split(_AT_A_TIME), strict=True))
    used = [place for place, slope in enumerate(wanted) if slope is not None]
    goal = torch.cat([wanted[place].flatten() for place in used])  # type: ignore[union-attr]
    free = [weights[place] for place in used]

    def gradient(part: Tensor, classes: Tensor, further: bool) -> Tensor:
        slopes = torch.autograd.grad(loss(part, classes), free, create_graph=further)
        return torch.cat([slope.flatten() for slope in slopes])

    # The distance is of the sum over all images, and its derivative by that sum is the same for
    # every part, so that the graph of one part is kept at a time.
    total = sum(gradient(part.detach(), classes, False) for part, classes in parts)
    assert isinstance(total, Tensor)
    total.requires_grad_()
    distance = 1 - functional.cosine_similarity(total, goal, dim=0)
    (by_total,) = torch.autograd.grad(distance, total)
    slopes = [
        torch.autograd.grad(gradient(part, classes, True) @ by_total, images)[0]
        for part, classes in parts
    ]
    return float(distance.detach()), torch.stack(slopes).sum(0)
