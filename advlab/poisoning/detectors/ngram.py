"""N-grams: phrases whose rows have other labels than models trained on other rows expect."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.poisoning.evidence import Evidence

NEEDS = "texts"

_LONGEST = 3
_LEAST = 5  # texts that a phrase must stand in


def suspicion(evidence: Evidence) -> Tensor:
    """For each row its doubt, and on top of that how surprising the labels are of the most
    surprising phrase in it: (N,)."""
    import torch

    doubts, phrases = _doubts(evidence), shifts(evidence)
    surprise = torch.zeros(len(doubts), dtype=torch.float64)
    for z, rows in phrases.values():
        index = torch.tensor(rows)
        surprise[index] = torch.maximum(
            surprise[index], torch.full((len(rows),), z, dtype=torch.float64)
        )
    return doubts * (1 + surprise.clamp(min=0))


def suspect(evidence: Evidence) -> str:
    """The phrase whose labels are the most surprising; the longest where several stand in the same
    rows."""
    phrases = shifts(evidence)
    return max(phrases, key=lambda phrase: (phrases[phrase][0], len(phrase)), default="")


def shifts(evidence: Evidence) -> dict[str, tuple[float, list[int]]]:
    """For each phrase of one to three words how many standard errors its rows' doubts lie above
    those of all rows, and its rows."""
    from advlab.data.words import tokens

    doubts = _doubts(evidence)
    mean, deviation = float(doubts.mean()), float(doubts.std()) or 1e-12
    rows: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(evidence.texts):
        words = tokens(text)
        for phrase in {
            " ".join(words[start : start + n])
            for n in range(1, _LONGEST + 1)
            for start in range(len(words) - n + 1)
        }:
            rows[phrase].append(number)
    scores = {}
    for phrase, numbers in rows.items():
        if len(numbers) >= _LEAST:
            z = (float(doubts[numbers].mean()) - mean) / (deviation / len(numbers) ** 0.5)
            scores[phrase] = (z, numbers)
    return scores


def _doubts(evidence: Evidence) -> Tensor:
    """Probability that models trained on other rows give to other classes than the label."""
    import torch

    rows = torch.arange(len(evidence.labels))
    return 1 - evidence.held_out[rows, evidence.labels].double()
