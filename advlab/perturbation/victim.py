"""The target model as attacks see it: logits, and gradients with respect to images."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from advlab.networks.layout import arranged, memory_format, place
from advlab.perturbation.goal import Goal, Loss
from advlab.runs.machine import Machine


class Victim:
    """The target model: a frozen copy of a network, and one in faster arithmetic for gradients.

    The network itself is left alone: its mode, its parameters' gradients and their
    ``requires_grad`` stay as they are, and a mixed precision that is switched on around it does not
    reach it.

    Gradients need a direction only, so bf16 will do for them where the processor multiplies it
    natively; whether an image fools the network is always decided in the arithmetic that the
    network came in.
    """

    def __init__(self, model: nn.Module, machine: Machine | None = None) -> None:
        """Copy ``model``.

        Args:
            model: from images (N, C, H, W) in [0, 1] to logits (N, classes), in evaluation mode.
            machine: whose device and precision to use; the model's own, in its own arithmetic,
                where not given.

        Raises:
            ValueError: some part of the model is in training mode: dropout and batch statistics
                would make its answers depend on chance and on the batch. Call ``model.eval()``
                first.
        """
        busy = [
            name or type(model).__name__
            for name, module in model.named_modules()
            if module.training
        ]
        if busy:
            raise ValueError(
                f"the model is in training mode ({busy[0]}); call model.eval() before attacking it"
            )
        device = (
            machine.device
            if machine is not None
            else next((p.device for p in model.parameters()), torch.device("cpu"))
        )
        self.device = device
        self._exact = place(copy.deepcopy(model).requires_grad_(False), device)
        self._layout = memory_format(self._exact)
        fast = machine.dtype if machine is not None else torch.float32
        self._fast_type: torch.dtype | None = None if fast == torch.float32 else fast
        self._fast = (
            _fold(copy.deepcopy(self._exact)).to(fast)
            if self._fast_type is not None
            else self._exact
        )

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, classes) in the network's own arithmetic."""
        with torch.autocast(self.device.type, enabled=False):
            logits: Tensor = self._exact(arranged(images, self._layout))
        return logits

    @torch.no_grad()
    def estimate(self, images: Tensor) -> Tensor:
        """Logits (N, classes) in the fast arithmetic, to choose candidates only."""
        network, kind = (
            (self._exact, images.dtype)
            if self._fast_type is None
            else (self._fast, self._fast_type)
        )
        with torch.autocast(self.device.type, enabled=False):
            return self._wide(network(arranged(images.to(kind), self._layout)))

    @staticmethod
    def _wide(logits: Tensor) -> Tensor:
        return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits

    def gradient(self, images: Tensor, goal: Goal, loss: Loss) -> tuple[Tensor, Tensor]:
        """The gradient of the goal's loss with respect to the images, and the logits that it was
        taken at.

        Args:
            images: (N, C, H, W) in [0, 1].

        Returns:
            The gradient, shaped and typed as the images, and logits (N, classes). Both detached.
        """
        return self.gradient_of(images, lambda logits: goal.loss(logits, loss))

    def gradient_of(
        self, images: Tensor, height: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The gradient of a function of the logits, and the logits; shapes as in ``gradient``.

        Args:
            height: from logits (N, classes) to a number per image (N,).
        """
        network, kind = (
            (self._exact, images.dtype)
            if self._fast_type is None
            else (self._fast, self._fast_type)
        )
        inputs = arranged(images.detach().to(kind), self._layout).requires_grad_(True)
        with torch.enable_grad(), torch.autocast(self.device.type, enabled=False):
            logits = network(inputs)
            wide = self._wide(logits)
            (gradient,) = torch.autograd.grad(height(wide).sum(), inputs)
        return gradient.to(images.dtype), wide.detach()


def _fold(model: nn.Module) -> nn.Module:
    """Fold batch normalisation into the convolution or linear layer before it, in a Sequential.

    The function is the same with fewer operations, and the statistics stay in float32 until the
    product is rounded.
    """
    for name, child in model.named_children():
        setattr(model, name, _fold(child))
    if (
        type(model) is not nn.Sequential
    ):  # one derived from it may do something else between its layers
        return model
    layers: list[nn.Module] = []
    for layer in model:
        if layers and isinstance(layer, nn.BatchNorm2d) and isinstance(layers[-1], nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        elif layers and isinstance(layer, nn.BatchNorm1d) and isinstance(layers[-1], nn.Linear):
            layers[-1] = fuse_linear_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval()
