"""The one figure that a run is about, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from advlab.runs.table import percent, spread


@dataclass(frozen=True)
class Headline:
    """A figure of ``metrics.json``.

    Attributes:
        key: its name there.
        share: whether it lies in [0, 1] and is written in percent.
        lower: whether the lower one is the better.
    """

    key: str
    share: bool = True
    lower: bool = False

    @property
    def words(self) -> str:
        """Its name for people."""
        return {"fid": "FID", "knn_accuracy": "k-NN accuracy"}.get(self.key, self.key.replace("_", " "))

    def text(self, value: float) -> str:
        """One value."""
        return percent(value) if self.share else f"{value:.4g}"

    def short(self, value: float) -> str:
        """One of several in a row."""
        return f"{100 * value:.2f}" if self.share else f"{value:.4g}"

    def spread(self, values: Sequence[float]) -> str:
        """Mean ± sample standard deviation; the deviation needs two."""
        if self.share or len(values) < 2:
            return spread(values) if self.share else self.text(values[0])
        return f"{mean(values):.4g} ± {stdev(values):.2g}"


HEADLINES = {
    one.key: one
    for one in (
        Headline("test_accuracy"),
        Headline("robust_accuracy"),
        Headline("fid", share=False, lower=True),
        Headline("entity_accuracy_after"),
        Headline("accuracy_after"),
        Headline("knn_accuracy"),
        Headline("largest_difference", share=False, lower=True),
    )
}
