"""Attacks that begin with the images nearest to being broken: which they take, and when they
end."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import advlab
from advlab.attacks import fab
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.evaluation.entry import Entry
from advlab.evaluation.nearest_first import BatchSizes, attacked, leads
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.sweep import Point
from advlab.perturbation.victim import GradientCount, Victim
from advlab.results.evaluate import SuiteAttack

LABELS = torch.zeros(600, dtype=torch.int64)


def attack_on(breaks: Callable[[Tensor], Tensor], seen: list[list[int]]) -> Callable[..., Point]:
    """An attack that breaks the images of which ``breaks`` is true, and notes its groups."""

    def attack(group: Tensor) -> Point:
        seen.append(group.tolist())
        reached = breaks(group)
        logits = torch.stack([torch.zeros(len(group)), torch.where(reached, 1.0, -0.25)], dim=1)
        nothing = torch.zeros(len(group), 1, 1, 1)
        return Point(0.1, nothing, logits, reached, 0.0, len(group), 0, GradientCount())

    return attack


def groups_of(
    breaks: Callable[[Tensor], Tensor], nearest: Tensor | None = None, count: int = 600
) -> list[list[int]]:
    """The groups of the first ``count`` images; without ``nearest`` the first image is nearest."""
    seen: list[list[int]] = []
    near = -torch.arange(1, 601).double() if nearest is None else nearest
    attack = attack_on(breaks, seen)
    for group, point in attacked(torch.arange(count), near, LABELS, attack, nearest_first=True):
        assert group.tolist() == seen[-1]
        assert len(point.reached) == len(group)
    return seen


def test_a_lead_is_the_best_wrong_class_less_the_true_one() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [0.0, 4.0, 1.0]])
    assert leads(logits, torch.tensor([0, 2])).tolist() == [-0.5, 3.0]


def test_an_attack_that_breaks_nothing_takes_the_nearest_twentieth() -> None:
    nearest = -torch.arange(600, 0, -1).double()  # the last image is the nearest
    (group,) = groups_of(lambda group: torch.zeros(len(group), dtype=torch.bool), nearest)
    assert group == list(range(570, 600))
    # What the attack reached is remembered: images that it brought nearer are first the next time.
    assert nearest[570:].tolist() == [-0.25] * 30
    assert nearest[:570].tolist() == list(range(-600, -30))


def test_groups_double_as_long_as_a_tenth_breaks() -> None:
    seen = groups_of(lambda group: (group < 3) | ((group >= 30) & (group < 36)) | (group == 100))
    assert [len(group) for group in seen] == [30, 60, 120, 120]
    assert [image for group in seen for image in group] == list(range(330))


def test_groups_stay_as_large_where_few_break() -> None:
    seen = groups_of(lambda group: (group == 5) | (group == 45))
    assert [len(group) for group in seen] == [30, 30, 30]


def test_all_others_follow_where_nearly_all_break() -> None:
    assert [len(group) for group in groups_of(lambda group: group != 0)] == [30, 570]
    some = groups_of(lambda group: group < 21)
    assert [len(group) for group in some] == [30, 60], "21 of 30 are not nearly all"


def test_no_group_is_left_over_that_is_hardly_smaller() -> None:
    seen = groups_of(lambda group: group < 3, count=119)
    assert [len(group) for group in seen] == [30, 89], "of 89 no 60 are taken first"
    assert groups_of(lambda group: group >= 0, count=0) == []


def test_a_group_has_enough_images_of_a_few() -> None:
    nearest, labels = -torch.arange(1, 101).double(), torch.zeros(100, dtype=torch.int64)
    seen: list[list[int]] = []
    attack = attack_on(lambda group: group < 0, seen)
    list(attacked(torch.arange(100), nearest, labels, attack, nearest_first=True))
    assert seen == [list(range(25))]


def test_batches_depend_on_the_group_alone() -> None:
    own = Entry("a", "fgsm", "white", nearest_first=True)
    sizes = BatchSizes(250)
    assert [sizes.of(own, count) for count in (10, 50, 300, 4000)] == [25, 25, 75, 250]
    assert BatchSizes(8).of(own, 300) == 8
    assert sizes.of(Entry("a", "fgsm", "white"), 10) == 250
    assert [BatchSizes(250, 100).of(own, count) for count in (10, 50, 600)] == [100, 100, 150]


def test_a_small_network_gets_larger_batches() -> None:
    images = torch.rand(30, 1, 28, 28)
    # A multiplication and an addition for each of 784 × 1,000 and 1,000 × 10 weights: 1.588 million
    # operations an image, of which 95 images have 150 million.
    small = nn.Sequential(nn.Flatten(), nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 10)).eval()
    assert BatchSizes.of_network(Victim(small), images, 250) == BatchSizes(250, 95)
    assert BatchSizes.of_network(Victim(small), images, 40) == BatchSizes(40, 40)
    tiny = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    assert BatchSizes.of_network(Victim(tiny), images, 250) == BatchSizes(250, 250)
    large = nn.Sequential(nn.Conv2d(1, 64, 5), nn.Flatten(), nn.Linear(36_864, 1000)).eval()
    assert BatchSizes.of_network(Victim(large), images, 250) == BatchSizes(250, 25)


def test_counting_draws_none_of_the_numbers_that_others_draw() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)).eval()
    network[1].forward = lambda x: nn.functional.dropout(x, 0.5)  # drops in evaluation mode too
    victim, images = Victim(network), torch.rand(4, 1, 4, 4)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    BatchSizes.of_network(victim, images, 250)
    assert torch.equal(torch.rand(3), expected)


def test_a_network_that_cannot_be_looked_into_counts_as_large() -> None:
    class Closed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
                raise RuntimeError("closed")
            return x.flatten(1)[:, :10]

    victim = Victim(Closed().eval())
    assert BatchSizes.of_network(victim, torch.rand(4, 1, 4, 4), 250) == BatchSizes(250, 25)


# --- in the standard suite ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def table(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """The rows of a verdict on a network of which some images are broken, by attack."""
    out = tmp_path_factory.mktemp("standard")
    line = f"evaluate standard --model {runs}/train/small --eps 0.07 --limit 120 --steps 10"
    line += f" --queries 30 --decisions 60 --precision fp32 --name v --out {out}"
    assert main(line.split()) == 0
    values = json.loads((out / "evaluate/v/metrics.json").read_text())
    assert 0 < values["robust_accuracy"] < values["clean_accuracy"]
    return {row["attack"]: row for row in values["attacks"]}


def test_the_table_says_how_many_of_the_robust_images_were_attacked(
    table: dict[str, dict[str, object]],
) -> None:
    rows = [SuiteAttack.model_validate(row) for row in table.values()]
    for row, later in pairwise(rows):
        assert later.robust_before(120) == row.robust_before(120) - row.broken
    everywhere = {row.attack for row in rows if row.attacked == row.robust_before(120)}
    assert everywhere >= {"noise", "FGSM", "PGD", "PGD-margin", "APGD-T-3"}
    assert rows[-1].attack == "HopSkipJump"
    assert 25 <= rows[-1].attacked < rows[-1].robust_before(120)


def test_other_starts_follow_a_success_alone(table: dict[str, dict[str, object]]) -> None:
    for name, first in {
        "APGD-CE-restarts": "APGD-CE",
        "FAB-restarts": "FAB-3",
        "FAB": "FAB-3",
    }.items():
        assert (table[name]["attacked"] == 0) == (table[first]["broken"] == 0)
    settings = {name: row["settings"] for name, row in table.items()}
    assert settings["APGD-CE"]["seed"] == 0  # type: ignore[index]
    assert settings["APGD-CE-restarts"]["seed"] == 1  # type: ignore[index]


def test_python_and_the_command_line_say_the_same(
    table: dict[str, dict[str, object]], runs: Path
) -> None:
    test = load_images.load(DataOptions(dataset="digits")).test
    given: dict[str, Any] = {"steps": 10, "queries": 30, "decisions": 60, "device": "cpu"}
    model = advlab.load_model(str(runs / "train/small"))
    images, labels = test.inputs(slice(0, 120)), test.labels[:120]
    result = advlab.evaluate(model, images, labels, eps=0.07, precision="fp32", **given)
    rows = {row.attack: (row.attacked, row.broken) for row in result.attacks}
    assert rows == {
        name: (row["attacked"], row["broken"]) for name, row in table.items() if name in rows
    }
    assert set(table) - set(rows) <= {"transfer"}


def test_fab_may_start_at_random() -> None:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 4)]
    model = nn.Sequential(*layers).eval()
    images = torch.rand(6, 1, 4, 4)
    labels = model(images).argmax(1)

    def moved(**given: object) -> Tensor:
        options = fab.Options.model_validate({"steps": 3, "minimal": True, **given})
        random = ImageRandom(0, torch.arange(6))
        return fab.perturb(Victim(model), images, Goal(labels), random, 1.0, options)

    assert torch.equal(moved(), moved(random_start=False))
    assert not torch.equal(moved(), moved(random_start=True))
