"""Adversarial weight perturbation: the loss of a step is that at the worst weights nearby.

Wu, Xia and Wang 2020, arXiv:2004.05884.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from advlab.training import distributed
from advlab.training.objective import Objective

Loss = Callable[[], tuple[Tensor, Tensor]]
"""The loss of a batch, and the logits for the accuracy, at the network's weights of the moment."""


class PerturbedWeights(Objective):
    """A loss on perturbed images, at perturbed weights.

    A method derives from it and makes the images in ``at_images``. They are made at the weights
    themselves. The weights then move by

        v = gamma · ‖w‖ / ‖g‖ · g,   g the gradient of the loss with respect to w,

    for each weight tensor of more than one dimension, as in the authors' code: biases and the
    parameters of normalisation stay. The optimiser's step is along the gradient at w + v, and
    starts from w. Statistics of batch normalisation are those of the pass at w + v alone.

    Attributes:
        gamma: size of the perturbation, relative to the norm of each weight tensor; 0 for none.
    """

    def __init__(self, label_smoothing: float, gamma: float) -> None:
        """Cross-entropy with this label smoothing, at weights moved by ``gamma``."""
        super().__init__(label_smoothing)
        self.gamma = gamma
        self._unperturbed: list[tuple[nn.Parameter, Tensor]] = []

    @abstractmethod
    def at_images(self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float) -> Loss:
        """Make the perturbed images, and return the loss on them."""

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        """The loss on perturbed images, at perturbed weights; see ``Objective``."""
        loss = self.at_images(model, inputs, labels, done)
        if self.gamma:
            self._move(model, loss, len(inputs))
        return loss()

    def after_backward(self) -> None:
        """Put the weights back where they were."""
        with torch.no_grad():
            for weight, value in self._unperturbed:
                weight.copy_(value)
        self._unperturbed = []

    def _move(self, model: nn.Module, loss: Loss, count: int) -> None:
        weights = [one for one in model.parameters() if one.requires_grad and one.ndim > 1]
        buffers = [buffer.clone() for buffer in model.buffers()]
        gradients = distributed.average(torch.autograd.grad(loss()[0], weights), count)
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(value)
            self._unperturbed = [(weight, weight.clone()) for weight in weights]
            for weight, gradient in zip(weights, gradients, strict=True):
                length = gradient.norm()
                if length > 0:
                    weight.add_(gradient * (self.gamma * weight.norm() / length))
        torch.clear_autocast_cache()  # which holds the weights of before in lower precision
