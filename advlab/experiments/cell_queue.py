"""The cells of a grid that are still to do, in the order in which they are begun."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from advlab.runs.folder import is_held

POLL = 0.2
"""Seconds between two looks at cells that other processes hold."""


class CellQueue:
    """Cells by their places in the plan.

    A cell that another process is at work on goes to the end of the queue, and is given out again
    when that process is done with it or has died. Two processes that carry out the same plan so
    share the work: each begins what the other has not begun.
    """

    def __init__(self, cells: int) -> None:
        """Of a plan with this many cells."""
        self._places = deque(range(cells))
        self._held: dict[int, Path] = {}

    def __len__(self) -> int:
        """How many cells are still to do, and not given out."""
        return len(self._places)

    def take(self) -> int | None:
        """Take out the first cell that no other process holds; None where there is none now."""
        for _ in range(len(self._places)):
            place = self._places.popleft()
            if place not in self._held or not is_held(self._held[place]):
                self._held.pop(place, None)
                return place
            self._places.append(place)
        return None

    def put_back(self, place: int, held: Path | None = None) -> None:
        """Put a cell that was taken out at the end.

        Args:
            held: the run's folder that another process is at work in; None where the cell may be
                begun again at once.
        """
        self._places.append(place)
        if held is not None:
            self._held[place] = held
