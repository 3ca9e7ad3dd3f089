"""Adversarial training on texts, in the space of word embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from advlab.networks.text import PADDING, word_embedding
from advlab.training.objective import Objective


class AdversarialEmbeddings(Objective):
    """The plain loss, and beside it that of perturbed word embeddings (Miyato, Dai and Goodfellow
    2017, arXiv:1605.07725).

    The perturbation of a text has a fixed L2 norm over all its words, and the direction of the
    gradient of its loss. Dropout draws anew for the perturbed texts.
    """

    def __init__(self, eps: float, weight: float, label_smoothing: float = 0.0) -> None:
        """The loss is that of the texts plus ``weight`` times that of the perturbed ones.

        Args:
            eps: L2 norm of a text's perturbation, in units of the embedding.
        """
        super().__init__(label_smoothing)
        self.eps, self.weight = eps, weight

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        """The loss, and the logits of the texts as they are; see ``Objective``."""
        table = word_embedding(model)
        assert table is not None
        with _embedded(table) as outputs:
            logits = model(inputs).float()
        clean = self.cross_entropy(logits, labels)
        # The gradient of the sum: the number of texts does not make that of a text smaller.
        (gradient,) = torch.autograd.grad(clean * len(inputs), outputs, retain_graph=True)
        with _embedded(table, self.perturbation(gradient, inputs)):
            perturbed = model(inputs).float()
        return clean + self.weight * self.cross_entropy(perturbed, labels), logits

    def perturbation(self, gradient: Tensor, numbers: Tensor) -> Tensor:
        """The step of length eps along each text's gradient, (N, L, dimension); 0 at padding, and
        where the gradient is 0.

        Args:
            gradient: of the loss with respect to embeddings, (N, L, dimension).
            numbers: of the words, (N, L).
        """
        of_words = gradient * (numbers != PADDING).unsqueeze(2)
        return self.eps * nn.functional.normalize(of_words.flatten(1), dim=1).view_as(gradient)


@contextmanager
def _embedded(table: nn.Embedding, perturbation: Tensor | None = None) -> Iterator[list[Tensor]]:
    """Collect the embedded words of a forward pass, after a perturbation is added."""
    outputs: list[Tensor] = []

    def watch(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        outputs.append(output if perturbation is None else output + perturbation)
        return outputs[-1]

    hook = table.register_forward_hook(watch)
    try:
        yield outputs
    finally:
        hook.remove()
