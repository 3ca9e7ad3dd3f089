"""Saliency maps: input gradient, SmoothGrad and Grad-CAM."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from advlab.errors import UsageError
from advlab.networks.layers import map_of
from advlab.progress import progress_bar

_FEWEST_PATCHES = 4


def gradient(network: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """The gradient of each image's class score, its logit, with respect to the image (Simonyan et
    al., arXiv:1312.6034).

    Args:
        images: (N, C, H, W).
        classes: the class explained in each, int64 (N,).

    Returns:
        Shaped and typed as the images.

    Raises:
        UsageError: there is no gradient.
    """
    inputs = images.detach().requires_grad_(True)
    with torch.enable_grad():
        score = network(inputs).gather(1, classes[:, None]).sum()
        slope = _gradient_of(score, inputs)
    if slope is None:
        raise UsageError(
            "the network has no gradient with respect to its images, so there are no saliency "
            "maps; its forward may run under no_grad, or detach what it computes"
        )
    return slope


def depends_on(network: nn.Module, layer: nn.Module, images: Tensor) -> bool:
    """Whether the logits depend on what a layer gives."""
    with torch.enable_grad():
        maps, logits, _ = map_of(network, layer, images.detach().requires_grad_(True))
        return _gradient_of(logits.sum(), maps) is not None


def _gradient_of(score: Tensor, inputs: Tensor) -> Tensor | None:
    """The gradient of a score with respect to what it was computed from; None where it was not."""
    if not (score.requires_grad and inputs.requires_grad):
        return None
    (slope,) = torch.autograd.grad(score, inputs, allow_unused=True)
    return slope


def smoothgrad(
    network: nn.Module,
    images: Tensor,
    classes: Tensor,
    samples: int,
    spread: float,
    generator: torch.Generator,
    batch: int = 16,
) -> Tensor:
    """SmoothGrad: the mean gradient over noisy copies of each image (Smilkov et al.,
    arXiv:1706.03825).

    M(x) = 1/n Σ ∂S(x + N(0, σ²)) / ∂x, with σ = spread · (max(x) - min(x)), as in the paper. Noisy
    copies are not cut to [0, 1].

    Args:
        samples: n.
        batch: noisy copies at a time.
    """
    sigma = spread * (images.flatten(1).amax(1) - images.flatten(1).amin(1)).view(-1, 1, 1, 1)
    total = torch.zeros_like(images)
    with progress_bar(samples, "SmoothGrad", "copies") as bar:
        for start in range(0, samples, batch):
            count = min(batch, samples - start)
            noise = torch.randn(
                (count, *images.shape), generator=generator, dtype=torch.float32
            ).to(images)
            noisy = (images + sigma * noise).flatten(0, 1)
            total += (
                gradient(network, noisy, classes.repeat(count)).view(count, *images.shape).sum(0)
            )
            bar.update(count)
    return total / samples


def grad_cam(network: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM: where a layer's maps speak for the class (Selvaraju et al., arXiv:1610.02391).

    α_k is the mean over the layer's map k of ∂S/∂A_k; the answer is ReLU(Σ_k α_k A_k). The tokens
    of a vision transformer are a map of as many pixels, without the class token before them.

    Returns:
        (N, h, w), at the layer's own resolution, not scaled.

    Raises:
        UsageError: the layer's output is no map (N, channels, h, w), with the channels last (N, h,
            w, channels), and no tokens (N, tokens, channels) of a square of patches; or the class
            does not depend on these tokens.
    """
    with torch.enable_grad():
        maps, logits, channels_last = map_of(network, layer, images.detach().requires_grad_(True))
        leading = _leading_tokens(maps.shape[1]) if maps.ndim == 3 else None
        if maps.ndim != 4 and leading is None:
            raise UsageError(
                f"--layer: it gives {tuple(maps.shape[1:])} for an image, and Grad-CAM needs a "
                "map (channels, height, width)"
            )
        slope = _gradient_of(logits.gather(1, classes[:, None]).sum(), maps)
    if slope is None:
        raise UsageError("--layer: the class does not depend on this layer; name another one")
    if not bool(slope.any()):  # such as a network whose last layer is zero still
        raise UsageError(
            "--layer: the score of the class has a gradient of zero in this layer; name another one"
        )
    maps = maps.detach()
    if leading is not None:
        maps, slope = (_as_map(tokens, leading) for tokens in (maps, slope))
        if not bool(slope.any()):
            raise UsageError(
                "--layer: the class depends on the class token alone behind this layer; name one "
                "before the last attention, such as the normalisation at the start of its block"
            )
    elif channels_last:
        maps, slope = maps.movedim(-1, 1), slope.movedim(-1, 1)
    weights = slope.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(1).relu()


def _leading_tokens(count: int) -> int | None:
    """How many of the tokens stand before those of the patches, which make up a square: none, a
    class token, or one more of a distilled network; None where neither is so."""
    for leading in range(3):
        patches = count - leading
        if patches >= _FEWEST_PATCHES and math.isqrt(patches) ** 2 == patches:
            return leading
    return None


def _as_map(tokens: Tensor, leading: int) -> Tensor:
    """Tokens (N, leading + side², channels) as a map (N, channels, side, side)."""
    patches = tokens[:, leading:]
    side = math.isqrt(patches.shape[1])
    return patches.transpose(1, 2).reshape(len(tokens), -1, side, side)
