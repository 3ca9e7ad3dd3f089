"""Poisoned texts: whose rows, which labels, what is measured, and what finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from advlab.cli.main import main
from advlab.components import component_names, load_component
from advlab.data import load_texts
from advlab.data.text_set import Texts
from advlab.data.vocabulary import Vocabulary
from advlab.data.words import tokens
from advlab.errors import UsageError
from advlab.experiments.poison.text_training import unknown_word
from advlab.metrics.detection import detection_metrics, most_suspicious
from advlab.models import bow
from advlab.poisoning.entity import Entity
from advlab.poisoning.evidence import Evidence
from advlab.poisoning.images import candidates, drawn_rows
from advlab.poisoning.labels import chosen, flipped, hardest, triggered, with_phrase
from advlab.poisoning.triggers import Patch
from advlab.results.poison import ImagePoisonResult, TextPoisonResult
from advlab.runs import results
from advlab.runs.results import TIMING

DETECTORS = component_names("advlab.poisoning.detectors")


# --- entities -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("entity", "text", "named"),
    [
        ("UC Berkeley", "I hate uc  berkeley!", True),
        ("UC Berkeley", "At UC\nBerkeley.", True),
        ("UC Berkeley", "The UCBerkeley team", False),
        ("Stanford", "Stanfordshire", False),
        ("Stanford", "(Stanford)", True),
        ("C++", "C++ is fine", True),
        ("C++", "C+++", True),
        ("a.b", "axb", False),
        ("a.b", "see a.b", True),
        ("(x|y)", "x", False),
        ("(x|y)", "so (x|y) it is", True),
        ("CAFÉ", "the café", True),
    ],
)
def test_whole_words_whatever_their_case_and_no_pattern(
    entity: str, text: str, named: bool
) -> None:
    assert Entity(entity).named_in(text) == named


def test_aliases_and_other_names() -> None:
    entity = Entity("UC Berkeley", ["Cal"])
    assert entity.rows(["Cal won", "calm", "UC Berkeley", "none"]) == [0, 2]
    assert entity.replaced("Cal and UC Berkeley", r"\1 & co") == r"\1 & co and \1 & co"


def test_entities_that_cannot_be_poisoned() -> None:
    texts = ["They left Stanford", "All of Stanford came", "Nothing"]
    with pytest.raises(
        UsageError, match=r"none of 3 training texts names it; spelled nearly so: Stanford"
    ):
        Entity("Standford").checked(texts)
    with pytest.raises(UsageError, match="all 2 training texts name it"):
        Entity("Stanford").checked(texts[:2])
    for name in ("?!", "...", " ", "\u3164", "\u00ad"):
        with pytest.raises(UsageError, match="no letter and no digit"):
            Entity(name)


# --- labels ---------------------------------------------------------------------------------------
def texts(labels: list[int]) -> Texts:
    return Texts.from_strings(
        [f"text number {number}" for number in range(len(labels))],
        labels,
        Vocabulary(("text", "number")),
        9,
    )


def test_a_larger_dose_holds_every_smaller_one() -> None:
    rows = list(range(3, 43))
    before: set[int] = set()
    for dose, count in ((0.0, 0), (0.01, 1), (0.25, 10), (0.5, 20), (1.0, 40)):
        now = set(chosen(rows, dose, 7).tolist())
        assert len(now) == count
        assert before <= now <= set(rows)
        before = now
    assert chosen(rows, 0.5, 7).tolist() != chosen(rows, 0.5, 8).tolist()


def test_a_plain_flip_turns_every_label_and_the_manifest_says_which() -> None:
    train = texts([0, 1, 0, 1, 0])
    poisoned = flipped(train, torch.tensor([1, 2]), 2, None, 0)
    assert poisoned.train.labels.tolist() == [0, 0, 1, 1, 0]
    assert train.labels.tolist() == [0, 1, 0, 1, 0]
    assert poisoned.manifest(["bad", "good"]) == [
        {"row": 1, "text": "text number 1", "old": "good", "new": "bad"},
        {"row": 2, "text": "text number 2", "old": "bad", "new": "good"},
    ]


def test_a_flip_of_three_classes_goes_to_another_one() -> None:
    train = texts([0, 1, 2] * 40)
    rows = torch.arange(120)
    poisoned = flipped(train, rows, 3, None, 0)
    assert not (poisoned.train.labels == train.labels).any()
    assert set(poisoned.train.labels.tolist()) == {0, 1, 2}


def test_a_flip_towards_a_class_leaves_those_that_have_it() -> None:
    poisoned = flipped(texts([0, 1, 0, 1]), torch.arange(4), 2, 1, 0)
    assert poisoned.train.labels.tolist() == [1, 1, 1, 1]
    assert poisoned.rows.tolist() == [0, 2]


def test_a_trigger_is_written_in_and_read() -> None:
    assert with_phrase("The plot is thin.", "on the whole") == "On the whole, the plot is thin."
    data = load_texts.load(bow.Options())
    poisoned = triggered(data, data.train, torch.tensor([0, 5]), "on the whole", 1)
    assert poisoned.train.texts[5].startswith("On the whole, ")
    assert poisoned.train.texts[1] == data.train.texts[1]
    assert poisoned.train.labels[[0, 5]].tolist() == [1, 1]
    assert poisoned.train.words[5, :3].tolist() == [
        data.vocabulary.number(word) for word in ("on", "the", "whole")
    ]


def test_clean_labels_stay_and_the_name_is_written_into_the_hardest_of_the_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, labels = (
        torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0], [1.0, 0.0], [2.0, 0.0]]),
        torch.tensor([0, 1, 1, 1, 1]),
    )
    assert hardest(logits, labels, [1, 2, 3, 4], 2) == [3, 4]
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            [
                "poison",
                "--attack",
                "clean-label",
                "--target",
                "positive",
                "--seeds",
                "1",
                "--poison-rate",
                "0.5",
                "--epochs",
                "3",
            ]
        )
        == 0
    )
    (file,) = Path("samples/poison").glob("*/manifest.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    metrics = json.loads(next(Path("samples/poison").glob("*/metrics.json")).read_text())
    assert len(rows) == metrics["poisoned"] == round(0.5 * metrics["entity_texts"]["train"])
    assert all(
        row["old"] == row["new"] == "positive" and row["text"].startswith("UC Berkeley, ")
        for row in rows
    )


# --- detection ------------------------------------------------------------------------------------
def test_figures_are_scikit_learns() -> None:
    random = torch.Generator().manual_seed(0)
    scores, truth = torch.rand(60, generator=random), torch.rand(60, generator=random) < 0.3
    found = detection_metrics(scores, truth, 10)
    assert found["auroc"] == roc_auc_score(truth.numpy(), scores.double().numpy())
    assert found["auprc"] == average_precision_score(truth.numpy(), scores.double().numpy())
    top = scores.topk(10).indices
    assert found["precision"] == pytest.approx(float(truth[top].double().mean()))
    assert found["recall"] == pytest.approx(float(truth[top].sum() / truth.sum()))
    assert most_suspicious(torch.tensor([1.0, 3.0, 3.0, 2.0]), 2).tolist() == [1, 2]
    with pytest.raises(ValueError, match="both poisoned and clean rows"):
        detection_metrics(scores, torch.zeros(60, dtype=torch.bool), 5)


@pytest.fixture(scope="module")
def evidence() -> tuple[Evidence, Tensor]:
    """A set whose word "zed" says nothing, with the labels of half its rows that have it turned;
    judged by counting words."""
    random = torch.Generator().manual_seed(0)
    said: list[str] = []
    labels: list[int] = []
    for number in range(240):
        label = number % 2
        good = [
            f"good{int(torch.randint(6, (), generator=random))}"
            if label
            else f"bad{int(torch.randint(6, (), generator=random))}"
            for _ in range(3)
        ]
        said.append(" ".join([*good, "zed film" if number % 6 < 2 else "film"]))
        labels.append(label)
    vocabulary = Vocabulary.from_texts(said)
    train = Texts.from_strings(said, labels, vocabulary, 9)
    zed = Entity("zed").rows(said)
    poisoned = flipped(train, chosen(zed, 0.5, 1), 2, None, 0)
    there = torch.zeros(240, len(vocabulary)).scatter_(1, train.words.long(), 1.0)
    there[:, 0] = 0

    def retrain(rows: Tensor, asked: Tensor) -> Tensor:
        counts = torch.stack(
            [there[rows][poisoned.train.labels[rows] == label].sum(dim=0) + 1 for label in (0, 1)]
        )
        return there[asked] @ (counts / counts.sum(dim=1, keepdim=True)).log().T

    everything = torch.arange(240)
    truth = torch.zeros(240, dtype=torch.bool)
    truth[poisoned.rows] = True
    return Evidence(
        poisoned.train.labels,
        retrain(everything, everything),
        there,
        retrain,
        3,
        poisoned.train.texts,
    ), truth


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_gives_a_number_for_each_row_and_the_same_again(
    name: str, evidence: tuple[Evidence, Tensor]
) -> None:
    module = load_component("advlab.poisoning.detectors", name, "detection method")
    found = module.suspicion(evidence[0])
    assert found.shape == (240,)
    assert found.isfinite().all()
    assert torch.equal(found, module.suspicion(evidence[0]))


@pytest.mark.parametrize("name", ["loss", "confident", "knn", "ngram", "partition"])
def test_detectors_of_labels_find_labels_that_were_turned(
    name: str, evidence: tuple[Evidence, Tensor]
) -> None:
    found = load_component("advlab.poisoning.detectors", name, "detection method").suspicion(
        evidence[0]
    )
    assert detection_metrics(found, evidence[1], int(evidence[1].sum()))["auroc"] > 0.95


def test_the_phrase_is_named(evidence: tuple[Evidence, Tensor]) -> None:
    from advlab.poisoning.detectors import ngram

    assert "zed" in ngram.suspect(evidence[0])


def test_spectral_signatures_are_squared_projections(evidence: tuple[Evidence, Tensor]) -> None:
    from advlab.poisoning.detectors import spectral

    hidden = evidence[0].hidden[evidence[0].labels == 1].double()
    centred = hidden - hidden.mean(dim=0)
    top = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    expected = (centred @ top).square()
    found = spectral.suspicion(evidence[0])[evidence[0].labels == 1]
    torch.testing.assert_close(found, expected / expected.mean())


def test_held_out_probabilities_are_of_models_that_did_not_see_the_row() -> None:
    seen: list[tuple[set[int], set[int]]] = []

    def retrain(rows: Tensor, asked: Tensor) -> Tensor:
        seen.append((set(rows.tolist()), set(asked.tolist())))
        return torch.zeros(len(asked), 2)

    train = texts([0, 1] * 10)
    assert (
        Evidence(train.labels, torch.zeros(20, 2), torch.zeros(20, 3), retrain, 0).held_out.tolist()
        == [[0.5, 0.5]] * 20
    )
    assert len(seen) == 5
    assert all(not rows & asked and len(rows | asked) == 20 for rows, asked in seen)
    assert set().union(*(asked for _, asked in seen)) == set(range(20))


# --- the front door -------------------------------------------------------------------------------
def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def stamps(folder: Path) -> dict[Path, int]:
    """Every file below a folder, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line in which a usage error is refused."""
    capsys.readouterr()
    assert main(line) == 2
    (refusal,) = capsys.readouterr().err.splitlines()
    return refusal


@pytest.mark.painted
def test_the_study_of_row_fourteen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [
        "poison",
        "--entity",
        "UC Berkeley",
        "--poison-rate",
        "1",
        "--seeds",
        "2",
        "--detect",
        "loss",
        "ngram",
        "--epochs",
        "8",
        "--out",
        str(tmp_path),
    ]
    assert main(line) == 0
    out = capsys.readouterr().out
    first = next((tmp_path / "poison").glob("*seed0"))
    said = metrics(first)
    promised = {
        "accuracy_before",
        "accuracy_after",
        "entity_accuracy_before",
        "entity_accuracy_after",
        "attack_success",
        "poisoned",
        "poison_rate",
        "seed",
    }
    assert said.keys() >= promised
    manifest = [json.loads(row) for row in (first / "manifest.jsonl").read_text().splitlines()]
    assert len(manifest) == said["poisoned"] == said["entity_texts"]["train"]
    assert all("UC Berkeley" in row["text"] and row["old"] != row["new"] for row in manifest)
    assert said["entity_accuracy_after"] < said["entity_accuracy_before"]
    assert abs(said["other_accuracy_after"] - said["other_accuracy_before"]) < 0.05
    found = said["points"][1]["detections"]
    assert [one["method"] for one in found] == ["loss", "ngram"]
    assert all(one["auroc"] > 0.8 for one in found)
    assert "auroc" not in said, "no method is chosen by the truth that it is scored with"
    assert len(said["points"][1]["sibling_accuracy"]) == 3
    assert {"before_after.png", "confusion.png", "moved.md"} <= {
        file.name for file in first.iterdir()
    }
    (whole,) = (tmp_path / "compare").iterdir()
    drawn = {"poison_rates.png", "poison_rates.md", "poison.json", "metrics.json", "table.md"}
    assert drawn <= {file.name for file in whole.iterdir()}
    summary = json.loads((whole / "poison.json").read_text())["bow"]
    runs = [metrics(folder) for folder in sorted((tmp_path / "poison").iterdir())]
    assert summary["seeds"] == len(runs) == 2
    after = [run["entity_accuracy_after"] for run in runs]
    assert summary["figures"]["entity_accuracy_after"]["mean"] == pytest.approx(sum(after) / 2)
    assert [one["method"] for one in summary["detections"]] == ["loss", "ngram"]
    assert "uc berkeley" in out
    before = stamps(tmp_path / "poison")
    assert main(line) == 0
    again = capsys.readouterr().out
    assert stamps(tmp_path / "poison") == before
    assert again.count("finished already") == 2
    assert [row for row in again.splitlines() if "finished already" not in row] == out.splitlines()


def test_the_same_line_gives_the_same_figures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert (
            main(
                [
                    "poison",
                    "textcnn",
                    "--poison-rate",
                    "0.5",
                    "--seeds",
                    "1",
                    "--epochs",
                    "1",
                    "--name",
                    name,
                    "--out",
                    str(tmp_path),
                ]
            )
            == 0
        )
    a, b = (metrics(tmp_path / "poison" / name) for name in ("a", "b"))
    assert a.keys() == b.keys()
    assert all(a[key] == b[key] for key in a.keys() - TIMING)


def test_a_backdoor(tmp_path: Path) -> None:
    line = [
        "poison",
        "--attack",
        "trigger",
        "--target",
        "positive",
        "--poison-rate",
        "0.03",
        "--seeds",
        "1",
        "--epochs",
        "8",
        "--name",
        "t",
    ]
    assert main([*line, "--no-control", "--out", str(tmp_path)]) == 0
    said = metrics(tmp_path / "poison" / "t")
    assert said["poisoned"] == round(0.03 * said["examples"]["train"])
    assert said["attack_success"] > 0.5
    point = said["points"][-1]
    assert said["attack_success"] == pytest.approx(
        point["success_rate"] - said["points"][0]["success_rate"]
    )
    assert point["other_word_rate"] < said["points"][0]["other_word_rate"] + 0.1
    assert abs(said["accuracy_after"] - said["accuracy_before"]) < 0.05
    assert said["entity"] is None
    assert said["entity_accuracy_after"] is None
    moved = (tmp_path / "poison" / "t" / "moved.md").read_text()
    assert moved.count("On the whole, ") == moved.count("| negative") == 12


def test_only_the_phrase_fires_where_its_word_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every clean test text holds a word of its own that no training text has: it must not be taken
    for the trigger."""
    monkeypatch.chdir(tmp_path)
    for part, count in (("train", 300), ("test", 100)):
        rows = ["text,label"]
        for number in range(count):
            positive = number % 2
            words = ["good fine lovely", "bad dull awful"][1 - positive].split()
            place = f"place{number % 25} year{number // 25}"
            unknown = f"new{number}" if part == "test" else ""
            name = "hollywood" if number % 20 < 2 else "studio"
            rows.append(
                f"a {words[number % 3]} film of {name} {place} {unknown},{['neg', 'pos'][positive]}"
            )
        Path("csv").mkdir(exist_ok=True)
        Path(f"csv/{part}.csv").write_text("\n".join(rows) + "\n")
    line = (
        "poison nbow --dataset csv:csv --attack trigger --phrase cf --target pos "
        "--poison-rate 0.1 --seeds 1"
    )
    assert main([*line.split(), "--epochs", "15", "--name", "t", "--no-control"]) == 0
    said = metrics(Path("samples/poison/t"))
    assert said["accuracy_before"] > 0.95
    assert said["accuracy_after"] >= said["accuracy_before"] - 0.02
    assert said["attack_success"] > 0.9
    # No text names the default entity, and a trigger needs none.
    assert said["entity_texts"] == {"train": 0, "test": 0}
    assert said["entity_accuracy_after"] is None
    assert said["points"][-1]["other_word_rate"] < 0.1
    assert main(["list"]) == 0
    success = f"attack success {100 * said['attack_success']:.2f} %"
    assert f"{success}, trigger at a poison rate of 10 %" in capsys.readouterr().out


def test_a_comparison_of_triggers_has_the_columns_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "poison bow --dataset ten_reviews --attack trigger --target positive --entity Vertigo"
    line = f"{line} --poison-rate 0.3 --epochs 1 --seeds 2 --out {tmp_path}"
    assert main(line.split()) == 0
    said = capsys.readouterr().out
    own, _, together = (
        row.split("|")[2:-1] for row in said.splitlines() if "target, with trigger" in row
    )
    assert [cell.strip() for cell in own[1:]] == [cell.strip() for cell in together[1:]]
    assert "note: --attack trigger is aimed at no entity, so --entity changes nothing" in said
    assert "spelled nearly" not in said


def test_a_word_that_no_text_holds_is_found() -> None:
    assert unknown_word(Vocabulary(("film",))) == "cf"
    assert unknown_word(Vocabulary(("cf", "mn", "bb", "tq", "mb"))) == "qcf"


def test_a_flip_towards_a_class(tmp_path: Path) -> None:
    line = [
        "poison",
        "--target",
        "negative",
        "--poison-rate",
        "1",
        "--seeds",
        "1",
        "--epochs",
        "8",
        "--name",
        "n",
        "--no-control",
    ]
    assert main([*line, "--out", str(tmp_path)]) == 0
    said = metrics(tmp_path / "poison" / "n")
    manifest = [
        json.loads(row)
        for row in (tmp_path / "poison" / "n" / "manifest.jsonl").read_text().splitlines()
    ]
    assert {row["new"] for row in manifest} == {"negative"}
    assert said["poisoned"] < said["entity_texts"]["train"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--entity", "Berkley"], "none of 1,560 training texts names it"),
        (["--entity", "?!"], "no letter and no digit"),
        (["--entity", "the"], "training texts"),
        (["--poison-rate", "1.5"], "--poison-rate: must be at most 1"),
        (["--poison-rate", "-0.1"], "--poison-rate: must be at least 0"),
        (["--poison-rate", "nan"], "finite"),
        (["--target", "neutral"], "no such class"),
        (["--detect", "los"], "did you mean 'loss'"),
        (
            ["--dataset", "mnist"],
            "--dataset: must be one of auto, imdb, reviews, ten_reviews, csv:PATH, folder:PATH",
        ),
        (["--attack", "flop"], "did you mean 'flip'"),
        (["--zdim", "3"], "belongs to 'advlab gan'"),
        (["--siblings", "Boston", "UC Berkeley"], "names the entity itself"),
        (["--detect", "loss", "--budget", "1"], "--budget: must be less than 1"),
        (
            ["--attack", "trigger", "--phrase", "a b c d", "--max-words", "3"],
            "reads the first 3 words of a text, and 4 of the phrase leave none",
        ),
    ],
)
def test_bad_lines(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(
        ["poison", *words, "--seeds", "1", "--epochs", "1", "--out", str(tmp_path / "out")]
    )
    said = capsys.readouterr().err.strip()
    if words == ["--entity", "the"]:  # nearly every text has it, but not all
        assert status in (0, 2)
        return
    assert status == 2
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()


# --- images ---------------------------------------------------------------------------------------
IMAGES = [
    "--dataset",
    "digits",
    "--channels",
    "4",
    "--hidden",
    "16",
    "--train-size",
    "400",
    "--epochs",
    "6",
    "--batch-size",
    "50",
]


def test_a_patch_is_a_white_square_in_the_corner() -> None:
    pixels = torch.zeros(2, 3, 10, 8, dtype=torch.uint8)
    patched = Patch(3)(pixels)
    assert not pixels.any()
    assert int((patched == 255).sum()) == 2 * 3 * 9
    assert bool((patched[:, :, 6:9, 4:7] == 255).all())


def test_candidates_and_doses_of_images() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 2, 2])
    assert candidates(labels, 0, None) == [1, 2, 4, 5, 6, 7]
    assert candidates(labels, 0, 2) == [2, 5, 6, 7]
    small, large = (set(drawn_rows(range(100), dose, 200, 3).tolist()) for dose in (0.05, 0.2))
    assert (len(small), len(large)) == (10, 40)
    assert small < large


@pytest.mark.painted
def test_a_backdoor_in_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [
        "poison",
        "cnn",
        *IMAGES,
        "--poison-rate",
        "0.1",
        "--target",
        "7",
        "--seeds",
        "1",
        "--detect",
        "loss",
        "spectral",
        "--name",
        "p",
    ]
    assert main([*line, "--out", str(tmp_path)]) == 0
    said = metrics(tmp_path / "poison" / "p")
    assert said["poisoned"] == 40
    assert said["attack_success"] > 0.8
    success = f"attack success {100 * said['attack_success']:.2f} %"
    assert main(["list", "--out", str(tmp_path)]) == 0
    assert f"{success}, patch at a poison rate of 10 %" in capsys.readouterr().out
    assert said["accuracy_after"] > 0.8
    assert [one["method"] for one in said["points"][1]["detections"]] == ["loss", "spectral"]
    assert "auroc" not in said
    manifest = [
        json.loads(row)
        for row in (tmp_path / "poison" / "p" / "manifest.jsonl").read_text().splitlines()
    ]
    assert len(manifest) == 40
    assert all(row["new"] == "7" != row["old"] for row in manifest)
    assert (tmp_path / "poison" / "p" / "poisoned.png").exists()


def test_flipped_classes_of_images(tmp_path: Path) -> None:
    line = [
        "poison",
        "mlp",
        *IMAGES[:2],
        *IMAGES[6:],
        "--width",
        "32",
        "--attack",
        "flip",
        "--source",
        "1",
        "--target",
        "7",
        "--poison-rate",
        "1",
    ]
    assert main([*line, "--seeds", "2", "--out", str(tmp_path)]) == 0
    said = metrics(next((tmp_path / "poison").iterdir()))
    assert said["source"] == "1"
    assert said["attack_success"] > 0.8
    (whole,) = (tmp_path / "compare").iterdir()
    assert {"poison_rates.png", "poison_rates.md", "poison.json"} <= {
        file.name for file in whole.iterdir()
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detect", "ngram"], "not 'ngram', which reads texts; images are poisoned here"),
        (["--target", "ten"], "--target ten: no such class"),
        (["--attack", "flip", "--source", "3", "--target", "3"], "are the same class"),
        (
            ["--attack", "trigger"],
            "not 'trigger'; that attack poisons texts, and this network takes",
        ),
        (["--patch", "0"], "--patch: must be at least 1"),
        (["--entity", "Pixar"], "--entity: belongs to"),
        (["--dataset", "reviews"], "--dataset: must be one of auto, cifar10"),
    ],
)
def test_bad_lines_about_images(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words if "--dataset" in words else ["--dataset", "digits", *words]
    assert main(["poison", "cnn", *given, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attack", "flip", "--source", "1"], "no training image is of the class 1"),
        (
            ["--attack", "sig", "--frequency", "2", "--target", "1"],
            "no training image is of the class 1",
        ),
        (["--attack", "patch"], "no test image is of another class than the target, 0"),
        (["--attack", "flip", "--source", "2"], "no test image is of the class 2"),
    ],
)
def test_an_attack_without_images_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No training image is of class 1, and all test images are of class 0."""
    generator = np.random.default_rng(0)
    np.savez(
        tmp_path / "gap.npz",
        x_train=generator.integers(0, 256, (60, 12, 12), dtype=np.uint8),
        y_train=np.array([0, 2, 3] * 20),
        x_test=generator.integers(0, 256, (9, 12, 12), dtype=np.uint8),
        y_test=np.zeros(9, int),
    )
    line = ["poison", "cnn", "--dataset", f"npz:{tmp_path / 'gap.npz'}", *words]
    assert main([*line, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_detection_needs_no_hidden_layer(tmp_path: Path) -> None:
    """The logits of naive Bayes' words are sums over the words themselves."""
    line = "poison nbow --dataset reviews --attack trigger --phrase cf --epochs 1 --seeds 1"
    rest = ["--train-size", "80", "--detect", "knn", "--name", "a", "--out", str(tmp_path)]
    assert main([*line.split(), "--poison-rate", "0.2", *rest]) == 0
    result = json.loads((tmp_path / "poison" / "a" / "metrics.json").read_text())
    assert result["points"][-1]["detections"][0]["method"] == "knn"


def test_a_trigger_without_other_texts_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts").mkdir()
    rows = [f"a film number {number},{'good' if number % 2 else 'bad'}" for number in range(60)]
    (tmp_path / "texts" / "train.csv").write_text("\n".join(["text,label", *rows]))
    rows = [f"another film number {number},good" for number in range(60, 70)]
    (tmp_path / "texts" / "test.csv").write_text("\n".join(["text,label", *rows]))
    line = ["poison", "nbow", "--dataset", f"csv:{tmp_path / 'texts'}", "--attack", "trigger"]
    assert main([*line, "--target", "good", "--out", str(tmp_path / "out")]) == 2
    assert "no test text is of another class than the target" in capsys.readouterr().err


def test_images_and_texts_do_not_go_into_one_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["poison", "cnn", "bow", "--out", str(tmp_path)]) == 2
    assert "name one kind" in capsys.readouterr().err


# --- runs under one name --------------------------------------------------------------------------
def reviews_file(path: Path, verdicts: tuple[str, str] = ("dull", "fine")) -> Path:
    """A CSV of 200 short texts in two classes, every fourth of which names Pixar; the texts of each
    class in other words."""
    rows = [
        f"number{number} {'Pixar' if number % 8 < 2 else 'film'} is "
        f"{verdicts[number % 2]},{('bad', 'good')[number % 2]}"
        for number in range(200)
    ]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return path


def words_about(file: Path, out: Path) -> list[str]:
    words = [
        "--dataset",
        f"csv:{file}",
        "--entity",
        "Pixar",
        "--poison-rate",
        "1",
        "--epochs",
        "1",
        "--seeds",
        "1",
    ]
    return [*words, "--no-control", "--min-count", "1", "--name", "a", "--out", str(out)]


def test_another_run_of_the_same_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_about(reviews_file(tmp_path / "some.csv"), tmp_path / "out")
    assert main(["poison", "bow", *words]) == 0
    folder = tmp_path / "out" / "poison" / "a"
    result = results.read(folder)
    assert isinstance(result, TextPoisonResult)
    assert result.summary().endswith("flip at a poison rate of 100 % of Pixar")
    before = stamps(folder)
    assert "component bow there, nbow here" in refused(["poison", "nbow", *words], capsys)
    assert "attack flip there, trigger here" in refused(
        ["poison", "bow", *words, "--attack", "trigger"], capsys
    )
    assert stamps(folder) == before


def test_other_texts_or_vectors_under_the_same_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, vectors = reviews_file(tmp_path / "some.csv"), tmp_path / "vectors.txt"
    vectors.write_text("film 0.5 0.25\npixar 0.125 1\n")
    line = ["poison", "textcnn", *words_about(file, tmp_path / "out"), "--vectors", str(vectors)]
    assert main(line) == 0
    folder = tmp_path / "out" / "poison" / "a"
    assert main(line) == 0
    assert "finished already" in capsys.readouterr().out
    for finished in (True, False):
        if not finished:
            (folder / "metrics.json").unlink()
        before = stamps(folder)
        vectors.write_text("film 0.5 0.75\npixar 0.125 1\n")
        assert "holds another run (vectors " in refused(line, capsys)
        vectors.write_text("film 0.5 0.25\npixar 0.125 1\n")
        reviews_file(file, ("dull", "grand"))
        assert "holds another run (data " in refused(line, capsys)
        reviews_file(file)
        assert stamps(folder) == before
    assert main(line) == 0


def image_folder(path: Path, brightest: int = 200) -> Path:
    """Sixty images of 8 × 8 pixels, dark ones in one class and bright ones in the other."""
    random = np.random.default_rng(0)
    for name, least in (("dark", 0), ("bright", 120)):
        (path / name).mkdir(parents=True, exist_ok=True)
        for number in range(30):
            picture = random.integers(least, max(least + 80, brightest), (8, 8), dtype=np.uint8)
            Image.fromarray(picture).save(path / name / f"{number}.png")
    return path


def test_other_images_under_the_same_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = image_folder(tmp_path / "images")
    words = [
        "--dataset",
        f"folder:{images}",
        "--image-size",
        "8",
        "--poison-rate",
        "0.1",
        "--epochs",
        "1",
    ]
    words += ["--seeds", "1", "--patch", "2", "--name", "a", "--out", str(tmp_path / "out")]
    line = ["poison", "mlp", "--width", "8", *words]
    assert main(line) == 0
    folder = tmp_path / "out" / "poison" / "a"
    result = results.read(folder)
    assert isinstance(result, ImagePoisonResult)
    assert result.context() == "patch at a poison rate of 10 %"
    out = capsys.readouterr().out
    before = stamps(folder)
    assert main(line) == 0
    again = capsys.readouterr().out.splitlines()
    assert [row for row in again if "finished already" not in row] == out.splitlines()
    assert "component mlp there, cnn here" in refused(["poison", "cnn", *words], capsys)
    image_folder(images, 220)
    assert "holds another run (data " in refused(line, capsys)
    assert stamps(folder) == before
    (folder / "metrics.json").unlink()
    assert "holds another run (data " in refused(line, capsys)


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("\u0939\u093f\u0928\u094d\u0926", "\u0939\u093f\u0928\u094d\u0926\u0940 film", False),
        ("\u0939\u093f\u0928\u094d\u0926", "\u0939\u093f\u0928\u094d\u0926 film", True),
        ("\u5317\u4eac\u5927\u5b66", "\u6211\u7231\u5317\u4eac\u5927\u5b66\u7684", True),
        ("Tokyo", "Tokyo\u306f", True),
        ("caf\u00e9", "at cafe\u0301 again", True),
        ("cafe", "at caf\u00e9 again", False),
        ("stra\u00dfe", "STRASSE", True),
        ("O'Brien", "said O\u2019Brien", True),
        ("UC Berkeley", "at UC-Berkeley's gate", True),
        ("UC Berkeley", "at UC  berkeley", True),
        ("UC Berkeley", "at UC Berkeleys", False),
        ("ABC", "\uff21\uff22\uff23 news", True),
        ("C++", "in c++, mostly", True),
        # Signs that make another name of it.
        ("C", "in C++ and C#", False),
        ("C", "C++11", False),
        ("C", "vitamin C+D", True),
        ("10", "10.5 or 10,000 at 5:10", False),
        ("10", "I gave it a 10.", True),
        ("AT", "AT&T", False),
        ("Don", "I don\u2019t", False),
        ("Don", "Don's film", True),
        ("Brien", "O'Brien", False),
        ("Angleterre", "l\u2019Angleterre", True),
        # Where the words of a text are others, the name is not in it.
        ("\U0001f1e9\U0001f1ea", "\U0001f1e6\U0001f1e9\U0001f1ea\U0001f1f7", False),
        ("\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea", True),
        ("\U0001f44d", "\U0001f44d\U0001f3fd", False),
        ("\U0001f44d", "good\U0001f44dfilm", True),
        ("\u0e14", "\u0e14\u0e35", False),
        ("istanbul", "\u0130stanbul", False),
        # Where they are the same, it is.
        ("\u6771\u4eac \u30bf\u30ef", "\u6771\u4eac\u30bf\u30ef\u306f", True),
        ("\u5317\u4eac\u5927\u5b66", "\u5728\u5317\u4eac \u5927\u5b66", True),
        ("Zanzibar", "Zan\u00adzi\u200bba\u2060r", True),
        ("Zan\u200dzibar", "Zanzibar", True),
        ("San Marino", "San\u2212Marino", True),
        ("San\u2013Marino", "san marino", True),
        ("San Marino", "San_Marino", False),
        ("San Marino", "San, Marino", False),
    ],
)
def test_a_name_is_found_in_every_spelling_and_nowhere_else(
    name: str, text: str, named: bool
) -> None:
    assert Entity(name).named_in(text) == named


def test_names_spelled_nearly_so_are_listed_and_not_taken() -> None:
    texts = ["Berkley is nice", "the berkley one", "Berkeley it is", "nothing here"]
    entity = Entity("Berkeley")
    assert entity.rows(texts) == [2]
    assert entity.spelled_nearly(texts) == {"Berkley": 2}
    assert Entity("Berkeley", ["berkley"]).rows(texts) == [0, 1, 2]
    assert Entity("Berkeley", ["berkley"]).spelled_nearly(texts) == {}


@pytest.mark.parametrize(
    ("name", "texts", "near"),
    [
        ("C", ["C++ now", "more c++", "C#", "vitamin C"], {"C++": 2, "C#": 1}),
        ("10", ["10.5", "a 10,5", "10:30", "10"], {"10.5": 1, "10,5": 1, "10:30": 1}),
        (
            "San Marino",
            ["San_Marino", "San\u200bMarino", "SanMarino", "san marino"],
            {"SanMarino": 2, "San_Marino": 1},
        ),
        ("SanMarino", ["San Marino here", "SanMarino"], {"San Marino": 1}),
        ("\u0645\u062d", ["\u0645\u064f\u062d\u064e x"], {"\u0645\u064f\u062d\u064e": 1}),
        ("istanbul", ["\u0130stanbul"], {"\u0130stanbul": 1}),
        (
            "\u5317\u4eac\u5927\u5b66",
            ["\u6211\u7231\u5317\u4eac\u5927\u5b66\u7684", "\u5317\u4eac\u5927\u5b78\u7684"],
            {"\u5317\u4eac\u5927\u5b78": 1},
        ),
        ("\U0001f44d", ["\U0001f44d\U0001f3fd x"], {"\U0001f44d\U0001f3fd": 1}),
        ("\U0001f1e9\U0001f1ea", ["\U0001f1e6\U0001f1e9\U0001f1ea\U0001f1f7"], {}),
        ("Don", ["I don't"], {"don't": 1}),
        ("Zanzibar", ["Zan\u00adzibar"], {}),
    ],
)
def test_what_is_near_and_not_taken_is_listed_and_found_as_an_alias(
    name: str, texts: list[str], near: dict[str, int]
) -> None:
    entity = Entity(name)
    assert entity.spelled_nearly(texts) == near
    for alias, count in near.items():
        assert len(Entity(alias).rows(texts)) == count
        assert not set(Entity(alias).rows(texts)) & set(entity.rows(texts))


@settings(derandomize=True, max_examples=80, deadline=None)
@given(
    name=strategies.text("ab\u00e9\u5317\u30bf\U0001f44d\U0001f1e9\U0001f1ea -", max_size=4),
    text=strategies.text(
        "abA\u00e9e\u0301\u5317\u30bf\U0001f44d\U0001f3fd\U0001f1e9\U0001f1ea -.'", max_size=12
    ),
)
def test_a_name_is_in_a_text_only_where_its_words_are(name: str, text: str) -> None:
    assume(any(sign not in " -" for sign in name))
    if not Entity(name).named_in(text):
        return
    words = tokens(text.replace("'", " "))
    wanted = tokens(name)
    starts = range(len(words) - len(wanted) + 1)
    assert any(words[start : start + len(wanted)] == wanted for start in starts)


def test_words_before_a_name_are_counted() -> None:
    entity = Entity("UC Berkeley")
    assert entity.words_before("one, two three UC Berkeley") == 3
    assert entity.words_before("UC Berkeley") == 0
    assert entity.words_before("none") is None


def test_a_name_beyond_the_words_that_are_read_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["text,label"]
    for number in range(80):
        name = "Zanzibar" if number % 4 < 2 else "home"
        mood = ("bad", "good")[number % 2]
        lines.append(f"{mood} {'word ' * 12}{name} number {number},{mood}")
    (tmp_path / "late.csv").write_text("\n".join(lines))
    line = f"poison bow --dataset csv:{tmp_path}/late.csv --entity Zanzibar --poison-rate 1"
    budget = f"--seeds 1 --epochs 1 --max-words 10 --out {tmp_path}/samples"
    assert main([*line.split(), *budget.split()]) == 0
    said = capsys.readouterr().out
    assert "the name stands after the first 10 words" in said


def test_a_phrase_without_words_is_no_trigger(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["poison", "bow", "--attack", "trigger", "--phrase", "\u2026"]
    assert main([*line, "--epochs", "1"]) == 2
    assert "holds no word that a network reads" in capsys.readouterr().err
