"""Generator, discriminator and running average, built from options or metadata."""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from torch import Tensor, nn

from advlab.components import load_component
from advlab.config.options.gan import GanOptions
from advlab.errors import UsageError
from advlab.gan.losses import PROBABILITIES
from advlab.networks.layout import place
from advlab.networks.metadata import GeneratorMetadata

_COPIES = 4  # a weight, its gradient, and Adam's two running means


class GanNetworks(nn.Module):
    """Generator, its running average, and discriminator.

    Attributes:
        average: the generator whose weights are the running average of the other's; the same one
            where none is kept.
        packing: how many images the discriminator sees at a time.
    """

    def __init__(self, metadata: GeneratorMetadata) -> None:
        """Fresh weights from torch's global generator.

        Raises:
            UsageError: no such architecture, or it cannot make images of this shape.
        """
        super().__init__()
        module = load_component("advlab.gan.generators", metadata.arch, "architecture")
        channels, height, width = metadata.shape
        self.zdim, self.packing, self.shape = metadata.zdim, metadata.packing, metadata.shape
        self.generator: nn.Module = module.generator(metadata.shape, metadata.zdim, metadata.width)
        self.discriminator: nn.Module = module.discriminator(
            (channels * metadata.packing, height, width), metadata.width, metadata.critic_norm
        )
        self.average: nn.Module = (
            copy.deepcopy(self.generator).requires_grad_(False)
            if metadata.averaged
            else self.generator
        )

    def score(self, images: Tensor) -> Tensor:
        """The discriminator's scores of images (N, C, H, W) in [-1, 1], a pack each: (N /
        packing,), float32."""
        if self.packing > 1:
            images = images.reshape(-1, images.shape[1] * self.packing, *images.shape[2:])
        scores: Tensor = self.discriminator(images)
        return scores.squeeze(1).float()


def probability_of(loss: str, scores: Tensor) -> Tensor:
    """D(x) in [0, 1] where the loss knows one, the score itself else."""
    return scores.sigmoid() if loss in PROBABILITIES else scores


@torch.inference_mode()
def pixels_of(generator: nn.Module, z: Tensor, batch: int = 250) -> Tensor:
    """The images of z (N, zdim) as bytes, uint8 (N, C, H, W) on the CPU: what a saved PNG of them
    would hold.

    In float32 and evaluation mode, whatever the mode was; which is as it was afterwards.
    """
    mode = generator.training
    generator.eval()
    device = next(generator.parameters()).device
    parts = []
    for part in z.split(batch):
        images = generator(part.to(device)).float()
        parts.append(
            ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().contiguous()
        )
    generator.train(mode)
    return torch.cat(parts)


def latents(seed: int, count: int, zdim: int) -> Tensor:
    """z (count, zdim) from a standard normal, a fixed function of the seed."""
    return torch.randn(count, zdim, generator=torch.Generator().manual_seed(seed))


def metadata_of(
    options: GanOptions, shape: tuple[int, int, int], classes: tuple[str, ...], dataset: str
) -> GeneratorMetadata:
    """Return the metadata of the generator and discriminator that the options describe, with the
    defaults of the architecture filled in.

    Raises:
        UsageError: no such architecture, or options that do not go together.
    """
    module = load_component("advlab.gan.generators", options.arch, "architecture")
    norm = options.critic_norm
    if norm == "auto":
        norm = {"hinge": "spectral", "wgan-gp": "layer"}.get(options.loss, module.NORM)
    if norm == "batch" and (options.loss == "wgan-gp" or options.penalty):
        asked = f"--penalty {options.penalty}" if options.penalty else f"--loss {options.loss}"
        raise UsageError(
            f"{asked}: does not go with --critic-norm batch, which makes an image's score depend "
            "on the others in its batch, as a gradient penalty is of one image; give --critic-norm "
            "layer, spectral or none"
        )
    if norm == "spectral" and options.loss == "wgan":
        raise UsageError(
            "--critic-norm spectral: divides weights by their norm, so that clipping them changes "
            "nothing; batch, layer and none go with --loss wgan"
        )
    if options.batch_size % options.packing or options.batch_size < 2 * options.packing:
        raise UsageError(
            f"--batch-size {options.batch_size}: must hold two packs or more, each of --packing "
            f"{options.packing} images"
        )
    return GeneratorMetadata(
        arch=options.arch,
        zdim=options.zdim,
        width=options.width or module.WIDTH,
        critic_norm=norm,
        packing=options.packing,
        loss=options.loss,
        averaged=options.ema_decay > 0,
        shape=shape,
        classes=classes,
        dataset=dataset,
    )


def check_size(metadata: GeneratorMetadata, batch: int, device: str) -> None:
    """Refuse networks that would not fit into the memory of ``device``, as ``--device`` names it,
    before any is taken.

    Raises:
        UsageError: they would not; the line says how much they take.
    """
    need, numbers = needed(metadata, batch)
    graphics = torch.cuda.is_available() and (device == "auto" or device.startswith("cuda"))
    memory = (
        torch.cuda.mem_get_info()[1]
        if graphics
        else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )
    if need > 0.8 * memory:
        raise UsageError(
            f"--zdim {metadata.zdim} with --width {metadata.width}: the two networks would hold "
            f"{numbers:.3g} numbers and take "
            f"{need / 1e9:,.0f} GB while they train; {'cuda' if graphics else 'this machine'} "
            f"has {memory / 1e9:,.0f} GB"
        )


def new_networks(metadata: GeneratorMetadata, device: torch.device) -> GanNetworks:
    """A new pair on ``device``, drawn from torch's global generator."""
    pair = GanNetworks(metadata)
    place(pair, device)
    return pair


def needed(metadata: GeneratorMetadata, batch: int) -> tuple[float, float]:
    """Bytes that a training takes at least, and how many numbers the networks hold; neither network
    is made for it."""
    with torch.device("meta"):
        counts = [
            sum(parameter.numel() for parameter in part.parameters()) for part in _parts(metadata)
        ]
    return 4.0 * (_COPIES * sum(counts) + counts[0] + 2 * batch * metadata.zdim), float(sum(counts))


def _parts(metadata: GeneratorMetadata) -> list[nn.Module]:
    module: Any = load_component("advlab.gan.generators", metadata.arch, "architecture")
    channels, height, width = metadata.shape
    # Spectral normalisation multiplies by the weights to start with, and there are none yet; it
    # adds next to nothing.
    norm = "none" if metadata.critic_norm == "spectral" else metadata.critic_norm
    return [
        module.generator(metadata.shape, metadata.zdim, metadata.width),
        module.discriminator((channels * metadata.packing, height, width), metadata.width, norm),
    ]
