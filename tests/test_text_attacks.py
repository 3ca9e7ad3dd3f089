"""Attacks on texts: against exhaustive search, and through the front door."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch import Tensor, nn

from advlab import api
from advlab.attacks import deepwordbug, hotflip, word_swap
from advlab.cli.main import main
from advlab.components import component_names, load_component
from advlab.config.registry import command_named
from advlab.data.vocabulary import Vocabulary
from advlab.data.word_space import WordSpace
from advlab.data.words import tokens
from advlab.errors import UsageError
from advlab.experiments.attack import text_examples, texts
from advlab.metrics.texts import edit_distance
from advlab.networks.replacement import replacement_gains
from advlab.networks.text import assemble, prepare, takes_texts
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.text_search import TextTask, by_importance, most_changes
from advlab.perturbation.text_victim import TextVictim, margin
from advlab.runs import results

ATTACKS = [
    name
    for name in component_names("advlab.attacks")
    if command_named("attack").takes(name) == "texts"
]
READERS = [name for name in component_names("advlab.models") if takes_texts(name)]
WORDS = ("good", "bad", "fine", "dull", "film", "plot", "the", "was")
LINEAR = ["bow", "nbow"]


def network(name: str, seed: int = 0, classes: int = 2, **changes: Any) -> nn.Module:
    """A small network with random weights, in float64 for finite differences; bow's layer of words
    knows float32 alone."""
    torch.manual_seed(seed)
    small = {"embedding": 5, "hidden": 6, "heads": 2, "filters": 6}
    kind = load_component("advlab.models", name, "model").Architecture
    known = {key: value for key, value in small.items() if key in kind.model_fields}
    model = assemble(name, kind(**{**known, **changes}), len(WORDS) + 2, classes)
    prepare(model, [(torch.randint(1, 10, (60, 6)), torch.randint(classes, (60,)))])
    return (model if name == "bow" else model.double()).eval()


def victim(model: nn.Module, dimension: int = 3) -> TextVictim:
    rows = torch.randn(len(WORDS) + 2, dimension, generator=torch.Generator().manual_seed(1))
    return TextVictim(model, Vocabulary(WORDS), torch.device("cpu"), WordSpace(rows))


def task_of(target: TextVictim, text: str, most: int) -> TextTask:
    """The text with the class that the network takes it for."""
    words = tuple(text.split())
    label = int(target.logits([target.numbers(words)]).argmax())
    target.queries = 0
    return TextTask(words, label, most)


def attacked(name: str, target: TextVictim, task: TextTask, seed: int = 0, **changes: Any) -> Any:
    module = load_component("advlab.attacks", name, "attack")
    random = ImageRandom(seed, torch.tensor([3]))
    return module.perturb(target, task, random, module.Options(**changes))


def margin_of(target: TextVictim, words: Any, label: int) -> float:
    return target.margins([target.numbers(words)], label)[0]


# --- first-order gains ----------------------------------------------------------------------------
def exchanged(numbers: Tensor, place: int, word: int) -> Tensor:
    changed = numbers.clone()
    changed[:, place] = word
    return changed


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("numbers", [[2, 3, 4, 5, 6], [2, 3, 2, 3, 3], [7], [1, 8, 1]])
def test_the_gain_is_exact_where_the_network_is_linear_in_its_words(
    name: str, numbers: list[int]
) -> None:
    """Against every single replacement in turn; with words and phrases that come twice."""
    model = network(name, classes=3)
    if name == "bow":  # its hidden layer is not linear; alone, the first one is
        model = nn.Sequential(model[0], model[1])  # type: ignore[index]
    text = torch.tensor([numbers])

    def slope(logits: Tensor) -> Tensor:
        return logits[:, 2] - 0.5 * logits[:, 0]

    gains = replacement_gains(model, text, slope)
    assert gains.shape == (1, len(numbers), len(WORDS) + 2)
    with torch.no_grad():
        base = slope(model(text))
        for place, word in itertools.product(range(len(numbers)), range(1, len(WORDS) + 2)):
            if word != numbers[place]:
                found = slope(model(exchanged(text, place, word))) - base
                torch.testing.assert_close(gains[:, place, word], found)


@pytest.mark.parametrize("name", ["textcnn", "gru", "lstm", "transformer"])
def test_the_gain_is_the_derivative_along_the_difference_of_two_embeddings(name: str) -> None:
    """Against central differences: the embedding of one place moves a little towards a word's."""
    model = network(name)
    (table,) = (module for module in model.modules() if isinstance(module, nn.Embedding))
    text, place, step = torch.tensor([[2, 5, 5, 3, 9, 4]]), 2, 1e-6
    gains = replacement_gains(model, text, lambda logits: margin(logits, 0))

    def moved(by: float, word: int) -> Tensor:
        def move(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            direction = table.weight[word] - output[0, place]
            shifted = output.clone()
            shifted[0, place] += by * direction
            return shifted

        hook = table.register_forward_hook(move)
        with torch.no_grad():
            found = margin(model(text), 0)
        hook.remove()
        return found

    for word in range(2, len(WORDS) + 2):
        slope = (moved(step, word) - moved(-step, word)) / (2 * step)
        torch.testing.assert_close(gains[:, place, word], slope, atol=1e-8, rtol=1e-5)


# --- what attacks ask -----------------------------------------------------------------------------
class Sums(nn.Module):
    """A network whose logits tell rows of any length apart, and that reads padding as a word."""

    def forward(self, numbers: Tensor) -> Tensor:
        one = (numbers * torch.arange(1, numbers.shape[1] + 1)).sum(dim=1)
        return torch.stack([one, torch.full_like(one, numbers.shape[1])], dim=1).float()


def test_rows_of_several_lengths_are_answered_in_their_order_and_none_is_padded() -> None:
    victim = TextVictim(Sums(), Vocabulary(("a", "b")), torch.device("cpu"))
    rows = [[2, 3], [3], [2, 2, 3], [3, 2], [2]]
    together = victim.logits(rows)
    assert victim.queries == 5
    assert torch.equal(together, torch.cat([Sums()(torch.tensor([row])) for row in rows]))


# --- attacks against exhaustive search ------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_greedy_word_swap_makes_the_best_single_swap_first(seed: int) -> None:
    target = victim(network("textcnn", seed=seed))
    task = task_of(target, "the good film was fine", 1)
    after = attacked("word_swap", target, task, search="greedy", min_similarity=-1)
    every = {
        (*task.words[:place], word, *task.words[place + 1 :])
        for place in range(5)
        for word in WORDS
    }
    values = {words: margin_of(target, words, task.label) for words in every}
    highest = max(values.values())
    if highest >= 0:  # of those that break the text, the most similar one
        assert values[after] >= 0
    else:
        assert after == max(values, key=lambda words: values[words])


@pytest.mark.parametrize("seed", range(4))
def test_hotflip_is_exhaustive_search_where_gains_are_exact(seed: int) -> None:
    """Phrases of one word make naive Bayes additive, so that a beam of one is as good as any."""
    target = victim(network("nbow", seed=seed, ngrams=1))
    task = task_of(target, "the good film was", 2)
    after = attacked("hotflip", target, task)
    changes = [sum(a != b for a, b in zip(task.words, after, strict=True))]
    every = [
        words
        for words in itertools.product(WORDS, repeat=4)
        if sum(a != b for a, b in zip(task.words, words, strict=True)) == changes[0]
        and len(set(words)) == 4
    ]
    assert changes[0] in (1, 2)
    reached = max(margin_of(target, words, task.label) for words in every)
    assert margin_of(target, after, task.label) == pytest.approx(reached)
    one = [w for w in itertools.product(WORDS, repeat=4) if sum(map(str.__ne__, w, task.words)) < 2]
    broken_by_one = max(margin_of(target, words, task.label) for words in one) >= 0
    assert (changes[0] == 1) == broken_by_one


def test_a_wider_beam_finds_no_worse_text_on_average() -> None:
    found = {1: 0.0, 8: 0.0}
    for seed, beam in itertools.product(range(6), found):
        model = network("textcnn", seed=seed)
        with torch.no_grad():  # far from linear, so that the first order misleads
            model[0].embedding.weight.mul_(20)  # type: ignore[index]
        target = victim(model)
        task = task_of(target, "the plot was dull the film", 3)
        after = attacked("hotflip", target, task, beam=beam)
        found[beam] += margin_of(target, after, task.label)
    assert found[8] > found[1]


def test_words_are_ordered_by_what_their_deletion_does() -> None:
    target = victim(network("textcnn"))
    task = task_of(target, "good film bad plot", 1)
    values = [
        margin_of(target, [word for j, word in enumerate(task.words) if j != i], task.label)
        for i in range(4)
    ]
    assert by_importance(target, task) == sorted(range(4), key=lambda i: -values[i])


@pytest.mark.parametrize(("attack", "reader"), list(itertools.product(ATTACKS, READERS)))
def test_every_attack_on_every_network(attack: str, reader: str) -> None:
    """It keeps its budget, is decided by its seed, and never makes the network surer."""
    target = victim(network(reader, classes=3).float())
    for text, most in [("the good film was fine and dull", 2), ("film", 1), ("bad bad bad", 1)]:
        task = task_of(target, text, most)
        options = {"min_similarity": -1} if attack == "word_swap" else {}
        after = attacked(attack, target, task, **options)
        assert after == attacked(attack, target, task, **options)
        assert len(after) == len(task.words)
        assert sum(a != b for a, b in zip(after, task.words, strict=True)) <= most
        if attack != "hotflip":
            before = margin_of(target, task.words, task.label)
            assert margin_of(target, after, task.label) >= before


@pytest.mark.parametrize("kind", ["swap", "substitute", "delete", "insert"])
def test_an_edit_has_the_distance_that_it_is_counted_with(kind: str) -> None:
    draws = [(a / 10, b / 10) for a in range(10) for b in range(10)]
    for word, draw in itertools.product(("film", "don't", "a", "naïve"), draws):
        for made, cost in deepwordbug._edited(word, (kind,), [list(draw)]):
            assert made != word
            assert edit_distance(word, made) <= cost
            assert cost == (2 if kind == "swap" else 1)


def test_edits_stay_within_their_distance() -> None:
    target = victim(network("textcnn"))
    task = task_of(target, "the good film was dull", 5)
    for budget in (1, 3):
        after = attacked("deepwordbug", target, task, max_edits=budget)
        assert edit_distance(" ".join(task.words), " ".join(after)) <= budget


def test_substitutes_are_as_similar_as_asked_for() -> None:
    target = victim(network("textcnn"))
    assert target.space is not None
    for number in range(2, 10):
        cosines = torch.nn.functional.cosine_similarity(
            target.space.rows[number][None], target.space.rows, dim=1
        )
        wanted = [n for n in cosines.argsort(descending=True).tolist() if n not in (0, 1, number)]
        wanted = [n for n in wanted if cosines[n] >= 0.2][:3]
        assert target.space.neighbours(number, 3, 0.2) == wanted
    assert target.space.neighbours(1, 3, -1) == [], "unknown words are not one word"


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("", "", 0), ("kitten", "sitting", 3), ("ab", "ba", 2), ("film", "", 4), ("film", "flim", 2)],
)
def test_the_edit_distance_of_known_pairs(first: str, second: str, distance: int) -> None:
    assert edit_distance(first, second) == edit_distance(second, first) == distance


def test_a_budget_is_rounded_up_to_whole_words() -> None:
    assert [most_changes(n, 0.15) for n in (1, 6, 7, 13, 14, 20, 21)] == [1, 1, 2, 2, 3, 3, 4]


# --- the front door -------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with a textcnn and an nbow, trained on part of the embedded reviews."""
    out = tmp_path_factory.mktemp("samples")
    small = ["--train-size", "400", "--epochs", "3", "--out", str(out)]
    assert main(["train", "textcnn", "--name", "cnn", "--batch-size", "20", *small]) == 0
    assert main(["train", "nbow", "--name", "bayes", *small]) == 0
    return out


def attack(trained: Path, out: Path, line: str) -> tuple[Path, dict[str, Any]]:
    before = set(out.glob("attack/*"))
    assert main(["attack", *line.replace("RUNS", str(trained)).split(), "--out", str(out)]) == 0
    (folder,) = set(out.glob("attack/*")) - before
    return folder, json.loads((folder / "metrics.json").read_text())


def test_word_swap_says_where_no_substitute_is_similar(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "word_swap --model RUNS/train/cnn --limit 12 --min-similarity 0.999"
    _, metrics = attack(trained, tmp_path, line)
    assert metrics["unchanged"] == metrics["attacked"] > 0
    printed = capsys.readouterr().out
    assert f"in {metrics['attacked']} of {metrics['attacked']} attacked texts" in printed
    assert "--min-similarity lowers the bound" in printed


LINES = [
    "hotflip --model RUNS/train/cnn --limit 12 --beam 2",
    "deepwordbug --model RUNS/train/bayes --limit 12",
    "word-swap --model RUNS/train/bayes --vectors RUNS/train/cnn --limit 12 --min-similarity 0",
]


@pytest.mark.parametrize("line", LINES)
def test_what_is_reported_is_what_the_texts_show(line: str, trained: Path, tmp_path: Path) -> None:
    folder, metrics = attack(trained, tmp_path, line)
    jsonschema.Draft202012Validator(results.schemas()).validate(metrics)
    rows = [json.loads(row) for row in (folder / texts.FILE).read_text().splitlines()]
    assert metrics["texts"] == len(rows) == 12
    run = trained / "train" / ("cnn" if "--model RUNS/train/cnn" in line else "bayes")
    network, metadata = texts_network(run)
    words = Vocabulary(metadata.words)
    for row in rows:  # the perturbed text, read anew
        numbers = torch.tensor([words.encode_words(tokens(row["perturbed"])[: metadata.max_words])])
        with torch.no_grad():
            assert int(network(numbers).argmax()) == row["after"]
    broken = [row for row in rows if not row["wrong"] and row["after"] != row["label"]]
    assert metrics["robust_accuracy"] == sum(row["after"] == row["label"] for row in rows) / 12
    assert metrics["clean_accuracy"] == sum(row["before"] == row["label"] for row in rows) / 12
    assert all(row["changed"] <= most_changes(row["words"], 0.15) for row in rows)
    assert broken
    attacked_rows = [row for row in rows if not row["wrong"]]
    assert metrics["unchanged"] == sum(row["original"] == row["perturbed"] for row in attacked_rows)
    rates = [row["changed"] / row["words"] for row in broken]
    assert metrics["perturbed_words"] == pytest.approx(sum(rates) / len(rates))
    assert metrics["curve"][0] == [0.0, metrics["clean_accuracy"]]
    assert metrics["curve"][-1] == pytest.approx([max(rates), metrics["robust_accuracy"]])
    assert (metrics["similarity"] is None) == (line == LINES[1])
    assert {"examples.md", "examples.html", "words.png"} <= {file.name for file in folder.iterdir()}
    assert main(["list", "--out", str(tmp_path)]) == 0


def texts_network(run: Path) -> Any:
    from advlab.networks import checkpoint

    return checkpoint.load_text_classifier(run)


def test_a_text_fares_alone_as_among_others_and_an_interrupted_run_ends_the_same(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "deepwordbug --model RUNS/train/cnn --limit 10"
    whole, _ = attack(trained, tmp_path / "whole", line)
    alone, _ = attack(trained, tmp_path / "alone", line.replace("10", "3"))
    lines = (whole / texts.FILE).read_text().splitlines()
    assert set((alone / texts.FILE).read_text().splitlines()) <= set(lines)
    monkeypatch.setattr(texts, "_EVERY", 4)
    attack_one = texts._attacked
    calls = []

    def stops(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return attack_one(*given)

    monkeypatch.setattr(texts, "_attacked", stops)
    words = ["attack", *line.replace("RUNS", str(trained)).split(), "--out", str(tmp_path / "cut")]
    assert main(words) == 130
    assert main(words) == 0
    assert len(calls) == 7 + 6, "four texts were not attacked again"
    (folder,) = (tmp_path / "cut").glob("attack/*")
    assert (folder / texts.FILE).read_text().splitlines() == lines
    assert not list(folder.glob("resume*"))


def test_examples_are_escaped(tmp_path: Path) -> None:
    one = text_examples.Example(
        7, "<b>", "good", 0.9, ["<script>", "a|b", "c"], ["<script>", "a|b", "&d"]
    )
    text_examples.write(tmp_path, [one], "<i>", "x & y")
    page = (tmp_path / "examples.html").read_text()
    assert "<script>" not in page
    assert "<i>" not in page
    assert "&lt;script&gt; a|b <ins>&amp;d</ins>" in page
    assert "<del>c</del>" in page
    row = (tmp_path / "examples.md").read_text().splitlines()[2]
    assert len(re.findall(r"\|", row)) == 7


def test_the_newest_network_is_taken_and_its_data_are_those_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{'good' if i % 2 else 'bad'} film {i},{i % 2}" for i in range(60)]
    Path("t.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    small = "--epochs 1 --split-seed 5 --test-fraction 0.3 --name own"
    assert main(f"train textcnn --dataset csv:t.csv {small}".split()) == 0
    assert main(["attack", "hotflip", "--model", "samples/train/own", "--name", "a"]) == 0
    assert (
        main(
            [
                "attack",
                "hotflip",
                "--dataset",
                "csv:t.csv",
                "--split-seed",
                "5",
                "--test-fraction",
                "0.3",
            ]
        )
        == 0
    )
    found = [json.loads(file.read_text()) for file in Path("samples/attack").glob("*/metrics.json")]
    trained_on = json.loads(Path("samples/train/own/metrics.json").read_text())
    assert [one["data_sha256"] for one in found] == [trained_on["data_sha256"]] * 2
    assert [one["network"]["sha256"] for one in found] == [trained_on["checkpoint_sha256"]] * 2
    assert [one["texts"] for one in found] == [18, 18]


REFUSED = [
    ("hotflip --eps 0.1", ["--eps: belongs to the attacks", "not to hotflip, which takes texts"]),
    ("pgd --max-perturbed 0.1", ["deepwordbug, hotflip and word_swap", "which takes images"]),
    ("hotflip --dataset digits", ["--dataset", "names images; texts are taken here"]),
    (
        "pgd --dataset imdb",
        ["--dataset", "names texts; images are taken here, and texts by deepwordbug,"],
    ),
    ("hotflip --model cnn", ["--model", "takes images; this attack changes texts"]),
    ("pgd --model textcnn", ["--model", "reads texts; images are taken here"]),
    ("hotflip pgd --limit 3", ["attacks on images and on texts do not go into one comparison"]),
    ("word-swap --model nbow --dataset csv:t.csv", ["no word embeddings", "--vectors"]),
    ("hotflip --max-perturbed 0", ["--max-perturbed", "greater than 0"]),
    ("word-swap --vectors nowhere.txt", ["--vectors: no such file"]),
    ("word-swap --vectors RUNS/train/bayes", ["--vectors", "nbow, without embeddings"]),
    ("hotflip --model RUNS/train/cnn --dataset csv:t.csv", ["classes", "apart; csv:t.csv has"]),
]


@pytest.mark.parametrize(("line", "words"), REFUSED)
def test_what_does_not_go_with_texts_is_refused_in_one_line(
    line: str,
    words: list[str],
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{'good' if i % 2 else 'bad'} film {i},{i % 3}" for i in range(60)]
    Path("t.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    if "nbow" in line:
        assert main(["train", "nbow", "--dataset", "csv:t.csv", "--epochs", "1"]) == 0
    capsys.readouterr()
    named = [] if "nbow" in line or "pgd" in line else ["--out", str(trained)]
    assert main(["attack", *line.replace("RUNS", str(trained)).split(), *named]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for word in words:
        assert word in message


def test_python_refuses_an_attack_on_texts() -> None:
    with pytest.raises(UsageError, match="takes texts"):
        api.attack(nn.Flatten(), torch.zeros(1, 1, 4, 4), torch.tensor([0]), "hotflip", eps=0.1)


def test_all_three_are_there() -> None:
    assert ATTACKS == ["deepwordbug", "hotflip", "word_swap"]
    assert {deepwordbug.TAKES, hotflip.TAKES, word_swap.TAKES} == {"texts"}


def test_the_cosine_of_large_vectors_does_not_overflow() -> None:
    rows = torch.zeros(5, 2)
    rows[2], rows[3], rows[4] = torch.tensor([[1e30, 0.0], [1e30, 1e30], [1e-30, 0.0]])
    space = WordSpace(rows)
    assert space.cosine(2, 3) == pytest.approx(0.5**0.5)
    assert space.similarity([2, 3], [2, 3]) == pytest.approx(1)
    assert space.similarity([2], [3]) == pytest.approx(0.5**0.5)
