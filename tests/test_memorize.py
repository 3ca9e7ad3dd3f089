"""``advlab memorize``: whose labels a coin draws, what is learned by heart, what is left on test
images, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binomtest

from advlab.cli.main import main
from advlab.data.image_set import Images
from advlab.experiments.memorize.study import drawn, epochs_to_fit, halves, in_two
from advlab.metrics.intervals import wilson
from advlab.runs.results import TIMING

SMALL = {
    "--dataset": "digits",
    "--width": "128",
    "--train-size": "40",
    "--epochs": "25",
    "--lr": "0.01",
    "--seeds": "1",
}


def line(out: Path, *words: str, model: str = "mlp") -> list[str]:
    given = [word for flag, value in SMALL.items() if flag not in words for word in (flag, value)]
    if model != "mlp":
        given = [word for word in given if word not in ("--width", "128")]
    return ["memorize", model, *given, *words, "--out", str(out)]


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


# --- labels ---------------------------------------------------------------------------------------
def test_a_larger_share_holds_every_label_that_a_smaller_one_has_drawn() -> None:
    truth = torch.tensor([0, 1] * 500)
    every = drawn(truth, 1.0, 7)
    assert drawn(truth, 0.0, 7).tolist() == truth.tolist()
    before: set[int] = set()
    for share in (0.25, 0.5, 0.75, 1.0):
        mixed = drawn(truth, share, 7)
        changed = set((mixed != truth).nonzero().squeeze(1).tolist())
        assert before <= changed
        assert all(mixed[row] == every[row] for row in changed)
        assert abs(len(changed) - share * 500) < 60  # a coin agrees with the truth every other time
        before = changed
    assert truth.tolist() == [0, 1] * 500
    assert drawn(truth, 1.0, 8).tolist() != every.tolist()


def test_a_fair_coin_that_does_not_know_the_truth() -> None:
    truth = (torch.arange(20_000) % 10 == 0).long()
    coins = drawn(truth, 1.0, 3).double()
    for part in (coins, coins[truth == 1], coins[truth == 0]):
        assert abs(float(part.mean()) - 0.5) < 3 * 0.5 / len(part) ** 0.5


def test_the_two_true_classes() -> None:
    assert halves(tuple("0123456789")) == "5 to 9 against 0 to 4"
    assert halves(("cat", "dog", "owl")) == "dog to owl against cat"
    images = Images(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), torch.arange(10))
    assert in_two(images, 10).labels.tolist() == [0] * 5 + [1] * 5
    assert in_two(images.select(torch.arange(3)), 3).labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("right", "count"), [(0, 10), (5, 10), (10, 10), (180, 360), (9876, 10_000)]
)
def test_the_interval_is_wilsons(right: int, count: int) -> None:
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert wilson(right, count) == (expected.low, expected.high), "to the last bit"


def test_the_epoch_that_everything_fits_after() -> None:
    def history(*pairs: tuple[float, float]) -> list[dict[str, float]]:
        return [
            {"epoch": number, "accuracy": one, "val_accuracy": two}
            for number, (one, two) in enumerate(pairs, start=1)
        ]

    assert epochs_to_fit(history((0.5, 0.6), (0.9, 0.99), (1.0, 0.98), (1.0, 1.0))) == 3
    assert epochs_to_fit(history((0.5, 0.6), (0.9, 1.0), (1.0, 1.0))) == 2
    assert epochs_to_fit(history((0.5, 0.6), (0.9, 0.99))) is None


# --- the command ----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("samples")
    assert main(line(out, "--name", "one", "--random-labels", "1", "0.5")) == 0
    return out / "memorize" / "one"


def test_random_labels_are_learned_by_heart_and_worth_nothing(one: Path) -> None:
    said = metrics(one)
    assert said["random_fraction"] == 1
    assert said["train_accuracy"] == 1
    assert said["train_loss"] < 0.05
    low, high = said["test_interval"]
    assert low < said["test_accuracy"] < high
    assert low < 0.5 < high
    assert 1 < said["epochs_to_fit"] <= 25
    assert said["examples"] == {"train": 40, "val": 0, "test": 360}
    assert len(said["data_sha256"]) == 64


def test_true_labels_are_worth_something(one: Path) -> None:
    said = metrics(one)
    true = said["true_labels"]
    assert true["train_accuracy"] == 1
    assert true["test_interval"][0] > 0.6
    assert true["epochs_to_fit"] <= said["epochs_to_fit"]
    assert said["true_task"] == "5 to 9 against 0 to 4"
    assert [point["random_fraction"] for point in said["points"]] == [0, 0.5, 1]
    assert (
        said["points"][0]["test_accuracy"]
        == said["points"][0]["test_accuracy_on_true_labels"]
        == true["test_accuracy"]
    )


def test_what_a_run_leaves(one: Path) -> None:
    assert {"curves.png", "shares.png", "history.jsonl", "config.yaml"} <= {
        file.name for file in one.iterdir()
    }
    history = [json.loads(text) for text in (one / "history.jsonl").read_text().splitlines()]
    assert [record["random_fraction"] for record in history] == [0] * 25 + [0.5] * 25 + [1] * 25
    assert [record["epoch"] for record in history] == 3 * list(range(1, 26))


def test_the_same_line_gives_the_same_figures_and_typed_twice_does_nothing(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = line(tmp_path, "--name", "two", "--random-labels", "1", "0.5")
    assert main(typed) == 0
    two = tmp_path / "memorize" / "two"
    assert (two / "history.jsonl").read_text() == (one / "history.jsonl").read_text()
    timeless = [
        {key: value for key, value in metrics(place).items() if key not in TIMING}
        for place in (one, two)
    ]
    assert timeless[0] == timeless[1]
    before = (two / "metrics.json").stat().st_mtime_ns
    assert main(typed) == 0
    assert "finished already" in capsys.readouterr().out
    assert (two / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.painted
def test_seeds_end_in_the_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            line(
                tmp_path,
                "--seeds",
                "2",
                "--random-labels",
                "0",
                "1",
                "--epochs",
                "3",
                "--lr",
                "0.0001",
            )
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "of 2 runs" in printed
    assert "never" in printed  # three such small steps are not enough
    (folder,) = (tmp_path / "compare").iterdir()
    assert {"curves.png", "shares.png", "memorize.md", "table.md"} <= {
        file.name for file in folder.iterdir()
    }
    assert len(list((tmp_path / "memorize").iterdir())) == 2


def test_another_network(tmp_path: Path) -> None:
    assert (
        main(line(tmp_path, "--epochs", "2", "--channels", "4", "--hidden", "8", model="cnn")) == 0
    )
    (folder,) = (tmp_path / "memorize").iterdir()
    assert metrics(folder)["model"] == "cnn"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mlp", "--random-labels", "1.2"], "--random-labels: must be at most 1"),
        (["mlp", "--random-labels", "-0.1"], "--random-labels: must be at least 0"),
        (["mlp", "--random-labels", "half"], "--random-labels: must be a number"),
        (["mlp", "--train-size", "5"], "cannot train on 5 images"),
        (["mlp", "--train-size", "100000"], "cannot train on 100,000 images"),
        (["gru"], "gru takes texts, and 'advlab memorize' images: cnn, convnet, mlp, resnet, "),
        (["mpl"], "unknown model 'mpl' (did you mean 'mlp'?)"),
        (["mlp", "--dataset", "reviews"], "--dataset: must be"),
    ],
)
def test_bad_lines(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words if "--dataset" in words or words[0] != "mlp" else [*words, "--dataset", "digits"]
    assert main(["memorize", *given, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()
