"""Word vectors from the training texts themselves: skip-gram with negative sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from advlab.data.formats.word_vectors import Vectors
from advlab.data.text_set import Texts
from advlab.data.vocabulary import UNKNOWN
from advlab.progress import progress_bar

_WINDOW = 5  # words to each side, of which a random number of the nearest ones is taken
_NEGATIVES = 5  # words drawn against each word of the window
_FREQUENT = 1e-3  # the fraction of all words above which a word is left out at random
_PAIRS = 2_000_000  # that are learned from; fewer leave the vectors of all words alike
_FEWEST, _MOST = 10, 50  # passes over the texts
_BATCH = 256  # pairs of words whose gradients are taken at the same vectors
_RATE = 0.05  # of the first step; it falls in a line to 0


def skip_gram(texts: Texts, words: int, dimension: int, seed: int) -> Vectors:
    """Vectors of the words of some texts, learned to tell the words around a word from words that
    are drawn at random (Mikolov et al. 2013, arXiv:1310.4546).

    A word of frequency f is left out of an epoch with probability 1 - √(10⁻³ / f), and random words
    are drawn as often as the power 3/4 of their frequencies. Labels are not looked at. There are
    ten passes over the texts, up to fifty over few texts, and the mean of all vectors is taken off
    (arXiv:1702.01417): else most of each vector is common to all, and every word near every other.

    Args:
        words: how many indices the vocabulary has.
        dimension: length of a vector.
        seed: of everything that is drawn.

    Returns:
        Vectors of the words that occur, but for padding and unknown words.
    """
    random = torch.Generator().manual_seed(seed)
    counts = texts.counts(words).double()
    counts[: UNKNOWN + 1] = 0
    known = counts.nonzero().squeeze(1)
    staying = (_FREQUENT * counts.sum() / counts).sqrt().nan_to_num(0.0, posinf=0.0).float()
    drawn = counts.pow(0.75).float()
    inner = (torch.rand(words, dimension, generator=random) - 0.5) / dimension
    outer = torch.zeros(words, dimension)
    pairs = _pairs(texts, staying, random)
    epochs = min(_MOST, max(_FEWEST, math.ceil(_PAIRS / max(1, len(pairs)))))
    with progress_bar(epochs, "word vectors", "epochs") as bar:
        for epoch in range(epochs):
            if epoch:
                pairs = _pairs(texts, staying, random)
            for start in range(0, len(pairs), _BATCH):
                done = (epoch + start / max(1, len(pairs))) / epochs
                words_in, words_out = pairs[start : start + _BATCH].T
                others = torch.multinomial(
                    drawn, len(words_in) * _NEGATIVES, replacement=True, generator=random
                ).view(-1, _NEGATIVES)
                _step(inner, outer, words_in, words_out, others, _RATE * (1 - done))
            bar.update()
    rows = inner[known] - inner[known].mean(dim=0)
    return Vectors(known, rows, len(known) / max(1, words - UNKNOWN - 1))


def loss(
    inner: Tensor, outer: Tensor, words_in: Tensor, words_out: Tensor, others: Tensor
) -> Tensor:
    """The loss of some pairs of words, summed.

    Args:
        inner, outer: the vectors of each word and those of each word as a neighbour, (words, D).
        words_in, words_out: pairs of words that stand near each other, int64 (N,).
        others: words drawn against each, int64 (N, K).
    """
    centre = inner[words_in]
    near = (centre * outer[words_out]).sum(dim=1)
    far = (outer[others] @ centre[:, :, None]).squeeze(2)
    return -functional.logsigmoid(near).sum() - functional.logsigmoid(-far).sum()


def _step(
    inner: Tensor, outer: Tensor, words_in: Tensor, words_out: Tensor, others: Tensor, rate: float
) -> None:
    """One step against the gradient of ``loss``, in place, on the vectors of the pairs alone."""
    places = torch.cat([words_out[:, None], others], dim=1)
    centre, around = inner[words_in], outer[places]
    logits = (around @ centre[:, :, None]).squeeze(2)
    error = torch.sigmoid(logits)
    error[:, 0] -= 1
    inner.index_add_(0, words_in, (error[:, None] @ around).squeeze(1), alpha=-rate)
    change = error[:, :, None] * centre[:, None]
    outer.index_add_(0, places.flatten(), change.flatten(0, 1), alpha=-rate)


def _pairs(texts: Texts, staying: Tensor, random: torch.Generator) -> Tensor:
    """Pairs of words that stand near each other, in a random order, int64 (N, 2)."""
    parts = list(_pairs_by_distance(texts, staying, random))
    pairs = torch.cat([torch.cat([part, part.flip(1)]) for part in parts])
    return pairs[torch.randperm(len(pairs), generator=random)]


def _pairs_by_distance(texts: Texts, staying: Tensor, random: torch.Generator) -> Iterator[Tensor]:
    """Pairs of words at each distance, the first one standing first."""
    rows, places = (texts.words > UNKNOWN).nonzero(as_tuple=True)
    numbers = texts.words[rows, places].long()
    stays = torch.rand(len(numbers), generator=random) < staying[numbers]
    rows, numbers = rows[stays], numbers[stays]
    # As far as the window of the first word reaches; pairs in both directions share it.
    reach = torch.randint(1, _WINDOW + 1, (len(numbers),), generator=random)
    for distance in range(1, _WINDOW + 1):
        count = max(0, len(rows) - distance)
        near = (rows[distance:] == rows[:count]) & (reach[:count] >= distance)
        yield torch.stack([numbers[:count][near], numbers[distance:][near]], dim=1)
