"""The target model as attacks see it: logits, and gradients with respect to images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from advlab.networks.adapter import (
    Adapter,
    copied,
    naming_the_network,
    part_in_training_mode,
    unwrapped,
)
from advlab.networks.image_gradients import quicken
from advlab.networks.layers import computes_as_its_class
from advlab.networks.layout import arranged, memory_format, place
from advlab.perturbation.goal import Goal, Loss
from advlab.progress import sign_of_life
from advlab.runs.machine import Machine
from advlab.training.evaluate import EVALUATION_BATCH


@dataclass(frozen=True)
class GradientCount:
    """How many gradients attacks asked for, one per image and step, and what was wrong with them.

    Attributes:
        total: all of them.
        missing: the logits did not depend on the image as far as autograd knows.
        not_finite: some entry was NaN or infinite.
        zero: every entry was zero; missing ones are not among them.
    """

    total: int = 0
    missing: int = 0
    not_finite: int = 0
    zero: int = 0

    @property
    def unusable(self) -> int:
        """How often an image had no gradient, or one with NaN or infinity."""
        return self.missing + self.not_finite

    def __add__(self, other: GradientCount) -> GradientCount:
        return GradientCount(
            self.total + other.total,
            self.missing + other.missing,
            self.not_finite + other.not_finite,
            self.zero + other.zero,
        )

    def __sub__(self, other: GradientCount) -> GradientCount:
        return GradientCount(
            self.total - other.total,
            self.missing - other.missing,
            self.not_finite - other.not_finite,
            self.zero - other.zero,
        )


class Victim:
    """The target model: a frozen copy of a network, and one in faster arithmetic for gradients.

    The network itself is left alone: its mode, its parameters' gradients and their
    ``requires_grad`` stay as they are, and a mixed precision that is switched on around it does not
    reach it.

    Gradients need a direction only, so bf16 will do for them where the processor multiplies it
    natively; whether an image fools the network is always decided in the arithmetic that the
    network came in.

    Attributes:
        judged_together: the most images whose logits decide whether they are broken that it is
            given at a time.
        gradients: the gradients so far, and how many of them were missing, not finite or zero.
        samples: how many passes through the network each gradient is the average of; see
            ``averaging``.
        smoothing: how many random points near the image each gradient is the average over; 0 for
            the gradient at the image itself; see ``smoothed``.
    """

    def __init__(
        self,
        model: nn.Module,
        machine: Machine | None = None,
        judged_together: int = EVALUATION_BATCH,
    ) -> None:
        """Copy ``model``.

        Args:
            model: from images (N, C, H, W) in [0, 1] to logits (N, classes), in evaluation mode;
                see ``advlab.networks.adapter`` for what else it may return.
            machine: whose device and precision to use; the model's own, in its own arithmetic,
                where not given.
            judged_together: as of the attribute; more than the default count as the default.

        Raises:
            ValueError: some part of the model is in training mode: dropout and batch statistics
                would make its answers depend on chance and on the batch. Call ``model.eval()``
                first.
        """
        training = part_in_training_mode(model)
        if training is not None:
            raise ValueError(
                f"the model is in training mode ({training}); call model.eval() before attacking it"
            )
        self.device = (
            machine.device
            if machine is not None
            else next((p.device for p in model.parameters()), torch.device("cpu"))
        )
        adapter = model if isinstance(model, Adapter) else Adapter(model)
        network = place(copied(unwrapped(adapter.network)), self.device)
        self._layout = memory_format(network)
        fast = machine.dtype if machine is not None else torch.float32
        folded = _fold(copied(network)).to(fast) if fast != torch.float32 else None
        self._exact = adapter.around(quicken(network))
        self._fast = self._exact if folded is None else adapter.around(quicken(folded))
        self.judged_together = min(judged_together, EVALUATION_BATCH)
        self.gradients = GradientCount()
        self.samples = 1
        self.smoothing = 0
        self._nearby: Callable[[Tensor], Tensor] = torch.clone

    @property
    def exact(self) -> Adapter:
        """The copy that decides what is broken, from images (N, C, H, W) to logits (N, classes)."""
        return self._exact

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Within it, gradients and estimates are in the network's own arithmetic.

        A search for the decision boundary needs more than a direction: each step goes as far as the
        logits say. In bf16 FAB left 24.5 % of 200 images at L2 2, and 5 % in float32, of a network
        whose gradients in both have a cosine above 0.95.
        """
        before, self._fast = self._fast, self._exact
        try:
            yield
        finally:
            self._fast = before

    @contextmanager
    def averaging(self, samples: int) -> Iterator[None]:
        """Within it, every gradient is the average over ``samples`` passes through the network.

        Expectation over transformation, Athalye et al. 2018 (arXiv:1802.00420): the gradient of one
        pass through a random network says little about the next one.
        """
        before, self.samples = self.samples, samples
        try:
            yield
        finally:
            self.samples = before

    @contextmanager
    def smoothed(self, points: int, nearby: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within it, every gradient is the average over ``points`` random points near the image.

        The logits, and with them what the loss looks at, are those of the image itself: its value
        goes with the gradients of its neighbours (BPDA, Athalye et al. 2018, arXiv:1802.00420).
        That leads on where the function jumps or its true gradient holds for tiny distances only,
        as in k-winners-take-all (Tramèr et al. 2020, arXiv:2002.08347, section 5.1).

        Args:
            points: 0 for the gradient at the image itself.
            nearby: from images to a random point near each of them.
        """
        before = self.smoothing, self._nearby
        self.smoothing, self._nearby = points, nearby
        try:
            yield
        finally:
            self.smoothing, self._nearby = before

    def forget_zeros(self, before: GradientCount, most: int) -> None:
        """Take gradients that were zero out of the count: those of images that an attack gave no
        weight, which is no fault of the network.

        Args:
            before: the count before these gradients were asked for.
            most: how many images had no weight.
        """
        zero = min(most, (self.gradients - before).zero)
        self.gradients = self.gradients - GradientCount(total=zero, zero=zero)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the network itself computes in."""
        return self._exact.coarsest

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, classes) in the network's own arithmetic."""
        return self._answer(self._exact, images)

    @torch.no_grad()
    def estimate(self, images: Tensor) -> Tensor:
        """Logits (N, classes) in the fast arithmetic, to choose candidates only."""
        return self._answer(self._fast, images)

    def _answer(self, network: Adapter, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            logits: Tensor = network(arranged(images, self._layout))
        sign_of_life()
        return logits

    def gradient(self, images: Tensor, goal: Goal, loss: Loss) -> tuple[Tensor, Tensor]:
        """The gradient of the goal's loss with respect to the images, and the logits that it was
        taken at.

        Args:
            images: (N, C, H, W) in [0, 1].

        Returns:
            The gradient, shaped and typed as the images, and logits (N, classes), both averaged
            over ``samples`` passes and detached; the gradient is averaged over ``smoothing`` points
            as well. Entries of the gradient that are missing, NaN or infinite are zero.
        """
        return self.gradient_of(images, lambda logits: goal.loss(logits, loss))

    def gradient_of(
        self, images: Tensor, height: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The gradient of a function of the logits, and the logits; shapes as in ``gradient``.

        Args:
            height: from logits (N, classes) to a number per image (N,).
        """
        if self.smoothing:
            return self._smoothed_gradient(images, height)
        gradient, logits = self._one_pass(images, height)
        for _ in range(self.samples - 1):
            further, further_logits = self._one_pass(images, height)
            gradient = None if gradient is None or further is None else gradient + further
            logits = logits + further_logits
        if self.samples > 1:
            gradient = None if gradient is None else gradient / self.samples
            logits = logits / self.samples
        return self._usable(gradient, images), logits

    def _smoothed_gradient(
        self, images: Tensor, height: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The average of the gradients at nearby points, and the logits at the images."""
        logits = torch.stack([self.estimate(images) for _ in range(self.samples)]).mean(0)

        def height_here(nearby: Tensor) -> Tensor:
            return height(logits + nearby - nearby.detach())

        passes = max(self.smoothing, self.samples)
        total: Tensor | None = torch.zeros_like(images)
        for _ in range(passes):
            gradient, _ = self._one_pass(self._nearby(images), height_here)
            total = None if total is None or gradient is None else total + gradient
        return self._usable(None if total is None else total / passes, images), logits

    def _one_pass(
        self, images: Tensor, height: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """The gradient of one pass, as autograd gives it, and the logits, detached."""
        inputs = arranged(images.detach(), self._layout).requires_grad_(True)
        with torch.enable_grad():
            logits = self._answer(self._fast, inputs)
            gradient = None
            if logits.requires_grad:
                total = height(logits).sum()
                with naming_the_network(self._fast.network, inputs):
                    (gradient,) = torch.autograd.grad(total, inputs, allow_unused=True)
        return gradient, logits.detach()

    def _usable(self, gradient: Tensor | None, images: Tensor) -> Tensor:
        """The gradient with zero where it is missing, NaN or infinite; such images are counted.

        An attack then stands still where it has no direction. A step along NaN would turn the image
        itself into NaN, and momentum would keep it there.
        """
        count = len(images)
        if gradient is None:
            self.gradients += GradientCount(count, missing=count)
            return torch.zeros_like(images)
        largest = gradient.flatten(1).abs().amax(1)  # NaN or infinite where any entry is
        not_finite, zero = torch.stack([~largest.isfinite(), largest == 0]).sum(1).tolist()
        self.gradients += GradientCount(count, not_finite=not_finite, zero=zero)
        return torch.where(gradient.isfinite(), gradient, 0.0) if not_finite else gradient


def _fold(model: nn.Module) -> nn.Module:
    """Fold batch normalisation into the convolution or linear layer before it, in a Sequential.

    The function is the same with fewer operations, and the statistics stay in float32 until the
    product is rounded. A module is left as it is where it has hooks, or another ``forward`` than
    that of its class in torch: these see, or change, what lies between the two layers.
    """
    for name, child in model.named_children():
        folded = _fold(child)
        if folded is not child:
            setattr(model, name, folded)
    if not computes_as_its_class(model, nn.Sequential):
        return model
    assert isinstance(model, nn.Sequential)
    layers: list[nn.Module] = []
    for layer in model:
        before = layers[-1] if layers else None
        if (
            computes_as_its_class(layer, nn.BatchNorm2d, nn.BatchNorm1d)
            and layer.running_mean is not None
        ):
            if isinstance(layer, nn.BatchNorm2d) and computes_as_its_class(before, nn.Conv2d):
                assert isinstance(before, nn.Conv2d)
                layers[-1] = fuse_conv_bn_eval(before, layer)
                continue
            if isinstance(layer, nn.BatchNorm1d) and computes_as_its_class(before, nn.Linear):
                assert isinstance(before, nn.Linear)
                layers[-1] = fuse_linear_bn_eval(before, layer)
                continue
        layers.append(layer)
    return model if len(layers) == len(model) else nn.Sequential(*layers).eval()
