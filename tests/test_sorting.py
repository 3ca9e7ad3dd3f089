"""Sorting by NumPy, compared with torch's stable sort."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from advlab.perturbation.sorting import order_of_rows, sorted_rows


def rows(kind: str) -> Tensor:
    random = torch.Generator().manual_seed(0)
    values = torch.randn(7, 300, generator=random)
    if kind == "ties":  # each number about ten times, of both signs, zeros of both signs among them
        values = (6 * values).round() / 6
        assert bool(torch.signbit(values[values == 0]).any())
    if kind == "extremes":
        tiny, large = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
        special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, tiny, -tiny, tiny / 8, large])
        values = special[torch.randint(len(special), (7, 300), generator=random)]
    return values.double() if kind == "float64" else values


@pytest.mark.parametrize("kind", ["distinct", "ties", "extremes", "float64"])
def test_rows_are_sorted_as_torch_sorts_them(kind: str) -> None:
    values = rows(kind)
    before = values.clone()
    assert torch.equal(sorted_rows(values), values.sort(dim=1).values)
    for descending in (False, True):
        expected = values.argsort(dim=1, descending=descending, stable=True)
        assert torch.equal(order_of_rows(values, descending=descending), expected)
    assert torch.equal(values, before)


def test_rows_may_be_views_single_or_empty() -> None:
    values = rows("distinct")
    for view in (values.T, values[:, ::3], values[:, :1], values[:0]):
        assert torch.equal(order_of_rows(view), view.argsort(dim=1, stable=True))
        assert torch.equal(sorted_rows(view), view.sort(dim=1).values)
