"""A patch that is put on images: where, how it is made on training images, and its controls.

A placement is a row (degrees, scale, down, right): the patch is a disc, turned counter-clockwise
about its middle, enlarged by the factor ``scale``, with its middle so many pixels below and to the
right of the middle of the image. It replaces the pixels whose centres it covers. Brown et al. 2017,
arXiv:1712.09665.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import logsigmoid

from advlab.config.threats import PatchAnywhere
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom, repeatable
from advlab.perturbation.victim import Victim
from advlab.progress import progress_bar
from advlab.runs.machine import derive

# What of a seed the parts are drawn from.
_BATCHES, _PLACES, _JUDGED, _PIXELS, _PICTURES = 70, 71, 72, 73, 74

_SIDES = {
    "top-left": (-1.0, -1.0),
    "top-right": (-1.0, 1.0),
    "bottom-left": (1.0, -1.0),
    "bottom-right": (1.0, 1.0),
    "centre": (0.0, 0.0),
}
"""Of a fixed place: how far down and right, as a fraction of the room that there is."""


def radius_of(size: float, height: int, width: int) -> float:
    """Radius in pixels of the disc that covers the fraction ``size`` of an image."""
    return math.sqrt(size * height * width / math.pi)


def check_fits(threat: PatchAnywhere, height: int, width: int) -> None:
    """Refuse a disc that sticks out of the image.

    Raises:
        UsageError: it does, where it is enlarged most.
    """
    largest = 2 * radius_of(threat.size, height, width) * (1 + threat.scale)
    side = min(height, width)
    if largest > side:
        most = math.pi / 4 * (side / (1 + threat.scale)) ** 2 / (height * width)
        raise UsageError(
            f"--size {threat.size:g}: a disc of up to {largest:.1f} pixels across does not fit "
            f"into images of {height} × {width}; at most {math.floor(1000 * most) / 1000:g} at "
            f"--scale {threat.scale:g}"
        )


def drawn(random: ImageRandom, threat: PatchAnywhere, height: int, width: int) -> Tensor:
    """A placement of each image within the limits, float64 (N, 4), the disc inside the image."""
    uniform = 2 * random.uniform((4,)).double() - 1
    scale = 1 + threat.scale * uniform[:, 1]
    radius = radius_of(threat.size, height, width) * scale
    sides = uniform[:, 2:]
    if threat.location != "random":
        sides = torch.tensor(_SIDES[threat.location], dtype=torch.float64).expand(len(random), 2)
    room = torch.stack([height / 2 - radius, width / 2 - radius], dim=1).clamp_min(0)
    return torch.cat([threat.degrees * uniform[:, :1], scale[:, None], sides * room], dim=1)


def placed(images: Tensor, patch: Tensor, placements: Tensor, radius: float) -> Tensor:
    """The images with the patch on each, in [0, 1].

    Args:
        images: (N, C, H, W) in [0, 1].
        patch: (1, C, K, K), the square around the disc; values between its pixels are bilinear.
        placements: (N, 4).
        radius: of the disc in pixels, before it is enlarged.
    """
    return _composed(images, patch, placements, radius).clamp(0, 1)


def _composed(images: Tensor, patch: Tensor, placements: Tensor, radius: float) -> Tensor:
    """The same, but for values that rounding puts out of the range; differentiable in the patch.

    To cut these off would cost a pixel that is white or black its gradient.
    """
    height, width = images.shape[2:]
    degrees, scale, down, right = (part.view(-1, 1, 1) for part in placements.double().unbind(1))
    y = torch.arange(height, dtype=torch.float64)[None, :, None] - (height - 1) / 2 - down
    x = torch.arange(width, dtype=torch.float64)[None, None, :] - (width - 1) / 2 - right
    sine, cosine = torch.sin(torch.deg2rad(degrees)), torch.cos(torch.deg2rad(degrees))
    # In units of the disc's radius, in which the outer edges of the square are at -1 and 1.
    u = (x * cosine - y * sine) / (radius * scale)
    v = (x * sine + y * cosine) / (radius * scale)
    seen = functional.grid_sample(
        patch.to(images).expand(len(images), -1, -1, -1),
        torch.stack([u, v], dim=3).to(images),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    inside = (u.square() + v.square() <= 1)[:, None]
    return torch.where(inside, seen, images)


def gradient_of(
    victim: Victim,
    images: Tensor,
    patch: Tensor,
    placements: Tensor,
    radius: float,
    goal: Goal,
) -> Tensor:
    """The direction of the gradient of the images' mean log-probability of the goal with respect to
    the patch; (1, C, K, K), of any length.

    The probability of the goal is that of the target, as in the paper, or that of any class but the
    label's. Its logarithm has the gradient of the log-odds (see ``Goal.loss``), weighted by the
    probability of missing the goal. That may be rounded to nothing in float32, so that the weights
    are over the largest of them.

    All but the network is computed on the CPU, where images, patch and placements are: it adds up
    the gradients of a patch's pixel in one order, and a GPU does not.
    """
    with torch.enable_grad():
        leaf = patch.detach().clone().requires_grad_(True)
        composed = _composed(images, leaf, placements, radius)

    ignored = torch.zeros((), dtype=torch.int64, device=victim.device)

    def height(logits: Tensor) -> Tensor:
        odds = goal.loss(logits, "ce")
        missed = logsigmoid(-torch.nan_to_num(odds.detach()))
        weights = (missed - missed.max()).exp()
        ignored.add_((weights == 0).sum())
        return weights * odds

    before = victim.gradients
    gradient, _ = victim.gradient_of(composed.detach().clamp(0, 1).to(victim.device), height)
    victim.forget_zeros(before, int(ignored))
    (result,) = torch.autograd.grad(composed, leaf, gradient.cpu())
    return result


def ascended(
    victim: Victim,
    images: Images,
    target: int | None,
    threat: PatchAnywhere,
    *,
    steps: int,
    step_size: float,
    placements: int,
    batch_size: int,
    seed: int,
) -> Tensor:
    """A patch (1, C, K, K) that brings images to their goal wherever it is put.

    Each step moves every pixel by one length along the sign of the gradient, which is summed over
    ``batch_size`` images in ``placements`` random placements each (expectation over
    transformation). Lengths shrink along half a cosine. The patch begins grey.

    Args:
        images: what the patch is made on.
        target: the class that all images are to be taken for; None for any but their own.
        step_size: length of the first step, in pixel units.
    """
    channels, height, width = images.pixels.shape[1:]
    radius = radius_of(threat.size, height, width)
    patch = torch.full((1, channels, *[resolution(radius)] * 2), 0.5)
    batches = _batches(len(images), batch_size, seed)
    with (
        repeatable(derive(seed, _BATCHES), victim.device),
        progress_bar(steps, "patch", "steps") as bar,
    ):
        for step in range(steps):
            chosen = next(batches)
            inputs, classes = images.inputs(chosen), images.labels[chosen].to(victim.device)
            if target is not None:
                classes = torch.full_like(classes, target)
            goal = Goal(classes, targeted=target is not None)
            random = ImageRandom(derive(seed, _PLACES, step), chosen)
            gradient = torch.zeros_like(patch)
            for _ in range(placements):
                where = drawn(random, threat, height, width)
                gradient += gradient_of(victim, inputs, patch, where, radius, goal)
            size = step_size * 0.5 * (1 + math.cos(math.pi * step / steps))
            patch = (patch + size * gradient.sign()).clamp(0, 1)
            bar.update()
    return patch


def resolution(radius: float) -> int:
    """Pixels along a side of the patch: those of the image that it covers, at least 2."""
    return max(2, math.ceil(2 * radius))


def judged_at(seed: int, numbers: Tensor, threat: PatchAnywhere, height: int, width: int) -> Tensor:
    """The placement at which each test image is judged, float64 (N, 4), drawn anew.

    Args:
        numbers: of the images in their data set, int64 (N,).
    """
    return drawn(ImageRandom(derive(seed, _JUDGED), numbers), threat, height, width)


def noise(channels: int, side: int, count: int, seed: int) -> Tensor:
    """Patches of independent uniform noise, (count, C, K, K): the control of occlusion."""
    random = ImageRandom(derive(seed, _PIXELS), torch.arange(count))
    return random.uniform((channels, side, side))


def pictures(images: Images, target: int | None, side: int, count: int, seed: int) -> Tensor:
    """Patches that show a whole image, (count, C, K, K): of the target class, or of any.

    Args:
        images: training images; where none is of the target class, of any.
    """
    own = images if target is None else images.select((images.labels == target).nonzero()[:, 0])
    own = own if len(own) else images
    generator = torch.Generator().manual_seed(derive(seed, _PICTURES))
    chosen = torch.randint(len(own), (count,), generator=generator)
    return functional.interpolate(
        own.inputs(chosen), (side, side), mode="bilinear", antialias=True, align_corners=False
    ).clamp(0, 1)


def disc(side: int) -> Tensor:
    """Which pixels of a patch have their centres in the disc, bool (K, K)."""
    place = (torch.arange(side, dtype=torch.float64) + 0.5) * 2 / side - 1
    return place[:, None].square() + place[None].square() <= 1


def _batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Positions of the images of each step, without end: all in a random order, then anew."""
    generator = torch.Generator().manual_seed(derive(seed, _BATCHES))
    while True:
        yield from torch.randperm(count, generator=generator).split(size)
