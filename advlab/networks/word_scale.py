"""Word embeddings that are normalised over the training texts while a network is trained."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from advlab.networks.text import PADDING, word_embedding

_WEIGHT = "weight"
_LEAST_VARIANCE = 1e-12  # of a column that is the same for all words


class Normalised(nn.Module):
    """A table of word vectors to the same with mean 0 and variance 1 in each column, over the words
    of the training texts; padding stays 0 (arXiv:1605.07725)."""

    def __init__(self, counts: Tensor) -> None:
        """``counts``: how often each word stands in the training texts, (words,)."""
        super().__init__()
        counts = counts.float()
        self.register_buffer("frequencies", (counts / counts.sum())[:, None])
        self.register_buffer("is_word", torch.arange(len(counts))[:, None] != PADDING)

    def forward(self, table: Tensor) -> Tensor:
        """The table (words, dimension), normalised."""
        frequencies = self.get_buffer("frequencies")
        centred = table - (frequencies * table).sum(dim=0)
        variance = (frequencies * centred.square()).sum(dim=0)
        normalised: Tensor = centred / variance.clamp(min=_LEAST_VARIANCE).sqrt()
        return normalised * self.get_buffer("is_word")


def normalise_embedding(model: nn.Module, counts: Tensor) -> None:
    """Have a network read normalised word vectors. What is trained is the table that they are
    computed from, so that every step keeps them normalised.

    Args:
        model: has a word embedding; changed in place.
        counts: how often each word stands in the training texts, (words,).
    """
    table = word_embedding(model)
    assert table is not None
    parametrize.register_parametrization(table, _WEIGHT, Normalised(counts))


def with_plain_embedding(model: nn.Module) -> nn.Module:
    """The network as its checkpoint holds it: a copy that has the normalised vectors for a table;
    the network itself where they are not normalised."""
    table = word_embedding(model)
    if table is None or not parametrize.is_parametrized(table, _WEIGHT):
        return model
    plain = copy.deepcopy(model)
    place, table = next(
        (name, module) for name, module in plain.named_modules() if isinstance(module, nn.Embedding)
    )
    # To remove the parametrisation from the copy would remove it from the network, too: they share
    # a class.
    rows = table.weight.detach().clone()
    plain.set_submodule(
        place, nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=PADDING)
    )
    return plain
