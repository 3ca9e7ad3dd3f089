"""What a detector is given: the training rows, a model trained on them, and a trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advlab.data.words import tokens

FOLDS = 5

# From rows to train on and rows to predict (int64 each) to the logits of the latter, (n, classes).
Retrain = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Evidence:
    """Training rows under suspicion.

    Attributes:
        labels: as they are; which of them were turned is not known here.
        logits: of the model that was trained on them all, for each of them: (N, classes).
        hidden: what its last layer sees of each, (N, D).
        retrain: trains the same kind of model on some rows and returns its logits of others.
        seed: of whatever is drawn.
        texts: the rows themselves, where they are texts; empty for images.
    """

    labels: Tensor
    logits: Tensor
    hidden: Tensor
    retrain: Retrain
    seed: int
    texts: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.logits.shape[1]

    @cached_property
    def held_out(self) -> Tensor:
        """Class probabilities of every row by a model that was not trained on it, (N, classes):
        five folds."""
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(self.seed))
        probabilities = torch.zeros(len(self.labels), self.classes)
        for part in order.chunk(FOLDS):
            rest = torch.ones(len(self.labels), dtype=torch.bool)
            rest[part] = False
            probabilities[part] = self.retrain(rest.nonzero().squeeze(1), part).softmax(dim=1)
        return probabilities

    @cached_property
    def similar(self) -> NDArray[np.float64]:
        """Cosine similarity of every two rows, (N, N): of texts by their words, weighted by how
        rare they are; of images by ``hidden``."""
        if not self.texts:
            flat = torch.nn.functional.normalize(self.hidden.double().flatten(1), dim=1)
            whole: NDArray[np.float64] = (flat @ flat.T).numpy()
            return whole
        from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to import

        weights = TfidfVectorizer(
            tokenizer=tokens, token_pattern=None, lowercase=False, sublinear_tf=True
        )
        rows = weights.fit_transform(self.texts)
        similar: NDArray[np.float64] = (rows @ rows.T).toarray()
        return similar
