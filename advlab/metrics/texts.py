"""Distances between texts."""

from __future__ import annotations


def edit_distance(first: str, second: str) -> int:
    """The smallest number of letters to insert, delete or substitute that makes one text of the
    other (Levenshtein 1966)."""
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(second, start=1):
            cost = min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != other))
            diagonal, row[j] = row[j], cost
    return row[-1]
