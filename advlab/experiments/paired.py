"""Two networks on the same images, image by image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from advlab.metrics.paired import holm, mcnemar
from advlab.results.comparison import PairedRuns, PairedTest
from advlab.runs.table import table

_PRINTED = 10  # pairs; table.md holds all of them


def paired_test(first: Tensor, second: Tensor) -> PairedTest:
    """McNemar's test of two networks.

    Args:
        first, second: which images each of them has right, bool (N,).
    """
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    return PairedTest(
        first_only=first_only,
        second_only=second_only,
        p_value=mcnemar(first_only, second_only),
    )


def p_text(test: PairedTest | None) -> list[str]:
    """The three columns of a table: only the first right, only the second, and p."""
    if test is None:
        return ["–", "–", "–"]
    return [f"{test.first_only:,}", f"{test.second_only:,}", _p(test.p_value)]


def _p(value: float) -> str:
    """A p-value; one so small that float64 does not tell it from 0 as a bound."""
    return "< 1e-300" if value < 1e-300 else f"{value:.2g}"


def adjusted(pairs: Sequence[PairedRuns]) -> list[PairedRuns]:
    """The pairs with p-values adjusted for their number by Holm's method as well."""
    values = holm([pair.test.p_value for pair in pairs])
    return [
        pair.model_copy(update={"adjusted_p_value": value})
        for pair, value in zip(pairs, values, strict=True)
    ]


def pairs_table(pairs: Sequence[PairedRuns], figure: str, most: int | None = None) -> str:
    """A row for each pair of runs, and how many are left out where there are more than ``most``.

    Args:
        figure: what the difference is of, such as "robust accuracy".
    """
    rows = [
        [
            pair.first,
            pair.second,
            str(pair.seed),
            f"{100 * pair.difference:+.2f}",
            *p_text(pair.test),
            "–" if pair.adjusted_p_value is None else _p(pair.adjusted_p_value),
        ]
        for pair in pairs[:most]
    ]
    difference = f"{figure}, second − first (points)"
    header = ["first", "second", "seed", difference, "only first", "only second"]
    header += ["p (McNemar)", "p (Holm)"]
    text = table(header, rows)
    left_out = len(pairs) - len(rows)
    return f"{text}\n{left_out} more pairs in table.md" if left_out else text


def printed_pairs(pairs: Sequence[PairedRuns], figure: str) -> str:
    """The table as it is printed: a row for each of the first pairs."""
    return pairs_table(pairs, figure, _PRINTED)
