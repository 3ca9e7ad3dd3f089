"""Random changes of training texts."""

from __future__ import annotations

import torch
from torch import Tensor

from advlab.data.vocabulary import PADDING, UNKNOWN


def drop_words(numbers: Tensor, probability: float) -> Tensor:
    """Texts in which words, each with this probability, have become the unknown word.

    Word dropout as in Iyyer et al. 2015 (Deep Unordered Composition Rivals Syntactic Methods for
    Text Classification), but that the place of the word is kept.

    Args:
        numbers: of words, int64 (N, L), 0 after the end of a text.
        probability: in [0, 1).
    """
    dropped = torch.rand(numbers.shape, device=numbers.device) < probability
    return torch.where(dropped & (numbers != PADDING), UNKNOWN, numbers)


def substitute_words(numbers: Tensor, probability: float, near: Tensor) -> Tensor:
    """Texts in which words, each with this probability, have become a word near to them, each of
    those equally likely.

    Args:
        numbers: of words, int64 (N, L), 0 after the end of a text.
        probability: in [0, 1).
        near: for every word of the vocabulary the words near to it, int64 (words, K); places
            without such a word hold the word itself.
    """
    near = near.to(numbers.device)
    known = near != torch.arange(len(near), device=near.device)[:, None]
    count = known.sum(dim=1)[numbers]
    chosen = torch.rand(numbers.shape, device=numbers.device) < probability
    drawn = (torch.rand(numbers.shape, device=numbers.device) * count).long()
    # Rounding may bring a number just below 1 to the count itself.
    drawn = drawn.minimum((count - 1).clamp_min(0))
    return torch.where(chosen & (count > 0), near[numbers, drawn], numbers)


def swap_words(numbers: Tensor, fraction: float) -> Tensor:
    """Texts in which pairs of words, drawn at random, have changed places (random swap of Wei and
    Zou 2019, arXiv:1901.11196).

    Args:
        numbers: of words, int64 (N, L), 0 after the end of a text.
        fraction: pairs drawn for each text, as a fraction of its number of words, rounded to the
            nearest whole number.
    """
    lengths = (numbers != PADDING).sum(dim=1)
    pairs = (fraction * lengths).round()
    swapped, texts = numbers.clone(), torch.arange(len(numbers), device=numbers.device)
    for number in range(int(pairs.max()) if len(numbers) else 0):
        places = torch.rand(2, len(numbers), device=numbers.device) * lengths
        # Rounding may bring a number just below 1 to the length itself.
        one, other = places.long().minimum((lengths - 1).clamp_min(0))
        other = torch.where(pairs > number, other, one)
        swapped[texts, one], swapped[texts, other] = swapped[texts, other], swapped[texts, one]
    return swapped
