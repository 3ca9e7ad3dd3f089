"""One step of the discriminator and one of the generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advlab.config.options.gan import GanOptions
from advlab.gan.augmentation import augmented
from advlab.gan.losses import (
    USUAL_PENALTY,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    r1_penalty,
)
from advlab.gan.networks import GanNetworks, probability_of
from advlab.runs.machine import Machine
from advlab.training.average import average
from advlab.training.optimizers import uncompiled


class GanSteps:
    """Two networks and their optimisers.

    Attributes:
        moves: generator steps taken.
    """

    def __init__(self, pair: GanNetworks, options: GanOptions, machine: Machine) -> None:
        """At its start. The pair is on the machine's device."""
        self.pair, self.options, self.machine = pair, options, machine
        self.penalty = (
            USUAL_PENALTY.get(options.loss, 0.0) if options.penalty is None else options.penalty
        )
        self.moves = 0
        fused = machine.device.type in ("cpu", "cuda")

        def optimizer(network: nn.Module, lr: float) -> torch.optim.Optimizer:
            if options.loss == "wgan":  # the paper found momentum to be unstable
                return uncompiled(torch.optim.RMSprop)(network.parameters(), lr)
            return uncompiled(torch.optim.Adam)(
                network.parameters(), lr, (options.beta1, options.beta2), fused=fused
            )

        self.of_generator = optimizer(pair.generator, options.lr)
        self.of_discriminator = optimizer(pair.discriminator, options.lr_critic or options.lr)

    def generated(self, count: int) -> Tensor:
        """Images (count, C, H, W) in [-1, 1] from fresh z."""
        z = torch.randn(count, self.pair.zdim).to(self.machine.device)
        with self.machine.autocast():
            images: Tensor = self.pair.generator(z)
        return images

    def discriminate(self, real: Tensor, fake: Tensor) -> Tensor:
        """A step of the discriminator on real and generated images (N, C, H, W); its loss, mean
        D(real), mean D(fake): (3,)."""
        options = self.options
        real, fake = self._seen(real), self._seen(fake.detach())
        with self.machine.autocast():
            of_real, of_fake = self.pair.score(real), self.pair.score(fake)
        loss = discriminator_loss(options.loss, of_real, of_fake, options.label_smoothing)
        if self.penalty:
            # A gradient of a gradient is no matter for half precision.
            whole = real.float(), fake.float()
            wgan = options.loss == "wgan-gp"
            slope = (
                gradient_penalty(self.pair.score, *whole, options.packing)
                if wgan
                else r1_penalty(self.pair.score, whole[0])
            )
            loss = loss + self.penalty * slope
        self.of_discriminator.zero_grad(set_to_none=True)
        loss.backward()
        self.of_discriminator.step()
        if options.loss == "wgan":
            self._clip()
        probabilities = [
            probability_of(options.loss, scores).mean() for scores in (of_real, of_fake)
        ]
        return torch.stack([loss, *probabilities]).detach()

    def generate(self, fake: Tensor) -> Tensor:
        """A step of the generator on images that it made; its loss and its gradient's norm:
        (2,)."""
        self.pair.discriminator.requires_grad_(
            False
        )  # its own gradients would be computed for nothing
        with self.machine.autocast():
            scores = self.pair.score(self._seen(fake))
        loss = generator_loss(self.options.loss, scores)
        self.of_generator.zero_grad(set_to_none=True)
        loss.backward()
        self.pair.discriminator.requires_grad_(True)
        gradients = [
            parameter.grad
            for parameter in self.pair.generator.parameters()
            if parameter.grad is not None
        ]
        norm = nn.utils.get_total_norm(gradients)
        self.of_generator.step()
        if self.pair.average is not self.pair.generator:
            average(self.pair.average, self.pair.generator, self.options.ema_decay, self.moves)
        self.moves += 1
        return torch.stack([loss, norm]).detach()

    @torch.no_grad()
    def _clip(self) -> None:
        """Put every weight of the discriminator into [-weight_clip, weight_clip]."""
        for parameter in self.pair.discriminator.parameters():
            parameter.clamp_(-self.options.weight_clip, self.options.weight_clip)

    def _seen(self, images: Tensor) -> Tensor:
        """Return images as the discriminator receives them: augmented and packed."""
        return augmented(images, self.options.diffaug) if self.options.diffaug else images
