"""Random numbers that belong to an image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from advlab.perturbation import randomness
from advlab.perturbation.randomness import ImageRandom
from advlab.runs.machine import derive, seed_generators

KINDS = ["uniform", "signs", "normal", "exponential"]


def draw(random: ImageRandom, kind: str, shape: tuple[int, ...] = (2, 3)) -> Tensor:
    drawn: Tensor = getattr(random, kind)(shape)
    return drawn


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_belong_to_the_image_and_not_to_the_batch(kind: str) -> None:
    ids = torch.tensor([5, 900, 0, 31])
    many = ImageRandom(3, ids)
    first, second = getattr(many, kind)((2, 3)), getattr(many, kind)((2, 3))
    assert not torch.equal(first, second)
    alone = ImageRandom(3, torch.tensor([31]))
    assert torch.equal(getattr(alone, kind)((2, 3))[0], first[3])
    chosen = alone.select(torch.tensor([0]))
    assert torch.equal(getattr(chosen, kind)((2, 3))[0], second[3]), (
        "a selection goes on with the numbers it would have had"
    )
    assert not torch.equal(getattr(ImageRandom(4, ids), kind)((2, 3)), first)


def test_the_distributions_are_what_they_are_called() -> None:
    random = ImageRandom(0, torch.arange(200))
    uniform, normal = random.uniform((500,)).double(), random.normal((500,)).double()
    exponential, signs = random.exponential((500,)).double(), random.signs((500,)).double()
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(uniform.var()) == pytest.approx(1 / 12, abs=0.002)
    assert float(normal.mean()) == pytest.approx(0, abs=0.015)
    assert float(normal.var()) == pytest.approx(1, abs=0.02)
    assert float(exponential.mean()) == pytest.approx(1, abs=0.015)
    assert float(exponential.var()) == pytest.approx(1, abs=0.05)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    # Neighbours in a row, in a column and between draws know nothing of each other.
    for one, other in (
        (uniform[:, :-1], uniform[:, 1:]),
        (uniform[:-1], uniform[1:]),
        (uniform, normal),
    ):
        assert (
            abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.01
        )


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_drawn_a_few_at_a_time_are_the_same(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = draw(ImageRandom(3, torch.tensor([5, 900])), kind, (3, 5, 7))
    monkeypatch.setattr(randomness, "_AT_ONCE", 16)
    assert torch.equal(draw(ImageRandom(3, torch.tensor([5, 900])), kind, (3, 5, 7)), together)


@pytest.mark.parametrize("kind", KINDS)
def test_any_split_and_any_order_of_the_images_gives_each_the_same_numbers(kind: str) -> None:
    ids = torch.arange(60) * 1009 + 7
    together = ImageRandom(5, ids)
    whole = [draw(together, kind) for _ in range(3)]
    for size in (1, 7, 60):
        parts = [ImageRandom(5, part) for part in ids.split(size)]
        for expected in whole:
            assert torch.equal(torch.cat([draw(part, kind) for part in parts]), expected)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    shuffled = ImageRandom(5, ids[order])
    for expected in whole:
        assert torch.equal(draw(shuffled, kind), expected[order])


def test_an_image_that_stays_while_others_leave_keeps_its_numbers() -> None:
    ids = torch.arange(10)
    all_along, narrowed = ImageRandom(1, ids), ImageRandom(1, ids)
    kept = torch.arange(10)
    for step in range(4):
        expected = all_along.uniform((5,))
        assert torch.equal(narrowed.uniform((5,)), expected[kept])
        stay = torch.arange(len(kept))[step % 2 :: 2]
        narrowed, kept = narrowed.select(stay), kept[stay]
        assert len(narrowed) == len(kept)


@pytest.mark.parametrize("seed", [0, 3, 2**63 - 1, -7])
def test_numbers_are_those_of_the_definition_in_plain_integers(seed: int) -> None:
    """A number is a hash of seed, image, draw and pixel, modulo 2^64."""

    def mix(x: int) -> int:
        x %= 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    random, golden = ImageRandom(seed, torch.tensor([5, 2**40])), 0x9E3779B97F4A7C15
    for draw in range(3):
        keys = [mix(mix(image + mix(seed)) + draw * golden) for image in (5, 2**40)]
        bits = [[mix(key + pixel * golden) for pixel in range(1, 5)] for key in keys]
        expected = torch.tensor([[(one >> 40) / 2**24 for one in row] for row in bits])
        assert torch.equal(random.uniform((2, 2)).flatten(1), expected)


def test_numbers_that_are_skipped_are_those_that_would_have_been_drawn() -> None:
    one, other = ImageRandom(3, torch.arange(4)), ImageRandom(3, torch.arange(4))
    one.skip(2)
    for _ in range(2):
        other.uniform((7,))
    assert torch.equal(one.uniform((5,)), other.uniform((5,)))


def test_the_processors_generator_is_seeded_as_torch_does() -> None:
    numbers = []
    for seeded in (torch.manual_seed, lambda seed: seed_generators(seed, torch.device("cpu"))):
        seeded(derive(0, 1))
        numbers.append(torch.rand(5))
    assert torch.equal(*numbers)


def test_torchs_own_stream_is_neither_used_nor_moved() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = [draw(ImageRandom(0, torch.arange(3)), kind) for kind in KINDS]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert all(
        torch.equal(draw(ImageRandom(0, torch.arange(3)), kind), one)
        for kind, one in zip(KINDS, first, strict=True)
    )


def test_no_two_images_seeds_or_draws_share_their_numbers() -> None:
    """With the seeds that runs derive from theirs, and the ids that tasks have."""
    rows = []
    for seed in range(4):
        random = ImageRandom(derive(seed, 2), torch.arange(300) * 1009 + torch.arange(300) % 10)
        rows += [random.uniform((4,)) for _ in range(3)]
    together = torch.cat(rows)
    assert len(torch.unique(together, dim=0)) == 4 * 300 * 3
    assert len(torch.unique(together[:, 0])) > 4 * 300 * 3 - 10, (
        "in 24 bits hardly any two are equal by chance"
    )


def test_neighbouring_seeds_do_not_deal_each_others_numbers() -> None:
    assert not torch.equal(
        ImageRandom(3, torch.tensor([5])).uniform((9,)),
        ImageRandom(4, torch.tensor([4])).uniform((9,)),
    )


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**63 - 1, derive(0, 2)])
def test_numbers_of_large_seeds_and_ids_are_finite_and_in_range(seed: int) -> None:
    random = ImageRandom(seed, torch.tensor([0, 2**31, 2**40, 2**62]))
    uniform, normal, exponential, signs = (
        draw(random, kind, (10_000,)) for kind in ("uniform", "normal", "exponential", "signs")
    )
    assert all(
        x.dtype == torch.float32 and x.shape == (4, 10_000)
        for x in (uniform, normal, exponential, signs)
    )
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert normal.isfinite().all()
    assert exponential.isfinite().all()
    assert exponential.min() >= 0
    assert signs.abs().eq(1).all()
    assert (uniform.mean(1) - 0.5).abs().max() < 0.02


def test_uniform_numbers_fill_their_range_evenly() -> None:
    """Chi-squared over 64 bins: 63 degrees of freedom, mean 63, standard deviation 11."""
    drawn = ImageRandom(9, torch.arange(100)).uniform((1000,)).flatten()
    counts = torch.histc(drawn, 64, 0, 1)
    expected = len(drawn) / 64
    assert float(((counts - expected) ** 2 / expected).sum()) < 63 + 5 * 11.3
    low = (drawn * 2**24).long() % 64  # the lowest bits as well as the highest
    counts = torch.bincount(low, minlength=64).double()
    assert float(((counts - expected) ** 2 / expected).sum()) < 63 + 5 * 11.3
