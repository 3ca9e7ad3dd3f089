"""Vocabularies of subwords: against byte-pair encoding written out, and through the front door."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from advlab.cli.main import main
from advlab.components import component_names
from advlab.data import load_texts
from advlab.data.subwords import START, Subwords, vocabulary_of
from advlab.data.text_set import Texts
from advlab.data.vocabulary import PADDING, UNKNOWN, Vocabulary
from advlab.data.words import tokens
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.poison.text_training import _other_word
from advlab.models import bow
from advlab.networks import checkpoint
from advlab.networks.text import takes_texts

needs_library = pytest.mark.skipif(
    find_spec("tokenizers") is None, reason="tokenizers is not installed (advlab[bpe])"
)
READERS = [name for name in component_names("advlab.models") if takes_texts(name)]
FILMS = [
    "the lowest of low films",
    "lower and slower",
    "a newer low :D",
    "Über-low!",
    "漢字 漢字 👍🏽",
]


def learned(texts: Sequence[str], size: int) -> Subwords:
    return Subwords.from_training(texts, size)


def spelled(vocabulary: Subwords, numbers: Sequence[int]) -> str:
    return "".join("?" if one == UNKNOWN else vocabulary.word(one) for one in numbers)


# --- learning and applying merges -----------------------------------------------------------------
def pairs_of(words: dict[tuple[str, ...], int]) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for parts, count in words.items():
        for pair in itertools.pairwise(parts):
            counts[pair] += count
    return counts


def joined(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The parts of a word after one merge, from the left."""
    after: list[str] = []
    place = 0
    while place < len(parts):
        both = parts[place : place + 2] == pair
        after.append("".join(parts[place : place + 2]) if both else parts[place])
        place += 2 if both else 1
    return tuple(after)


@needs_library
def test_every_merge_joins_the_pair_that_was_the_most_frequent_one_then() -> None:
    texts = load_texts.load(bow.Options()).train.texts
    vocabulary = learned(texts, 300)
    words = dict(Counter(tuple(START + word) for text in texts for word in tokens(text)))
    characters = {character for parts in words for character in parts}
    assert set(vocabulary.words) == characters | {"".join(pair) for pair in vocabulary.merges}
    assert len(vocabulary.words) == 300
    for pair in vocabulary.merges:
        counts = pairs_of(words)
        assert counts[pair] == max(counts.values())
        words = dict(Counter({joined(parts, pair): count for parts, count in words.items()}))


def divided(vocabulary: Subwords, word: str) -> list[int]:
    """Byte-pair encoding written out: the earliest merge first, from the left."""
    parts = tuple(START + word)
    while True:
        pairs = set(itertools.pairwise(parts))
        pair = next((pair for pair in vocabulary.merges if pair in pairs), None)
        if pair is None:
            break
        parts = joined(parts, pair)
    numbers = vocabulary.indices(vocabulary.words)
    each = [numbers.get(part, UNKNOWN) for part in parts]
    return [
        one for one, before in zip(each, [None, *each], strict=False) if (one, before) != (1, 1)
    ]


@needs_library
@settings(deadline=None)
@given(strategies.text(alphabet="abelorswthnfü漢字👍🏽zq:D!' ", max_size=40))
def test_words_are_divided_as_by_byte_pair_encoding_written_out(text: str) -> None:
    vocabulary = _FILMS_LEARNED[0]
    expected = [number for word in tokens(text) for number in divided(vocabulary, word)]
    assert vocabulary.encode_words(tokens(text)) == (expected or [UNKNOWN])
    if vocabulary.can_spell(tokens(text)) and tokens(text):
        assert spelled(vocabulary, expected) == "".join(START + word for word in tokens(text))


_FILMS_LEARNED = [learned(FILMS, 60)] if find_spec("tokenizers") else []


@needs_library
def test_case_and_spellings_of_unicode_make_no_difference_as_for_words() -> None:
    vocabulary = learned(FILMS, 60)
    same = ["ÜBER-LOW! it’s", "über-low! it's", "u\u0308ber-ｌｏｗ! it's"]
    assert len({tuple(vocabulary.encode_words(tokens(text))) for text in same}) == 1


@needs_library
def test_characters_without_a_training_text_are_unknown_and_an_empty_text_is_as_well() -> None:
    vocabulary = learned(["ab ab 漢 👍"], 50)
    for wordless in ("", "... \u200b"):
        assert vocabulary.encode_words(tokens(wordless)) == [UNKNOWN]
    # Those that follow each other are one.
    assert spelled(vocabulary, vocabulary.encode_words(tokens("axyzb"))) == "▁a?b"
    # In scripts without spaces a character is a word, and so is an emoji.
    assert spelled(vocabulary, vocabulary.encode_words(tokens("漢字👍🎉"))) == "▁漢▁?▁👍▁?"
    assert not vocabulary.can_spell(["ac"])
    assert vocabulary.can_spell(["ba"])
    assert vocabulary.can_spell([])


@needs_library
def test_texts_are_cut_after_whole_words() -> None:
    vocabulary = learned(["abc"], 9)
    assert spelled(vocabulary, vocabulary.encode_words(tokens("abc cba ab")[:2])) == "▁abc▁cba"


@needs_library
@pytest.mark.parametrize("texts", [[], [""], ["...", ""]])
def test_texts_without_words_yield_no_subwords(texts: list[str]) -> None:
    vocabulary = learned(texts, 10)
    assert vocabulary == Subwords((), ())
    assert len(vocabulary) == 2
    assert set(vocabulary.encode_words(tokens("ab"))) == {UNKNOWN}


@needs_library
def test_pairs_that_stand_there_once_are_not_merged_and_the_vocabulary_stays_small() -> None:
    assert learned(["ab ab cd"], 1000).words == ("a", "b", "c", "d", START, "ab", "▁ab")


@needs_library
def test_fewer_subwords_than_characters_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--subwords 4: the training texts hold 5 characters"):
        learned(["ab ab cd"], 4)
    assert learned(["ab ab cd"], 5).merges == ()


_HASHED = """
import hashlib, sys
from advlab.data import load_texts
from advlab.data.subwords import Subwords
from advlab.models import bow
texts = list(load_texts.load(bow.Options()).train.texts)
if sys.argv[1] == "reversed":
    texts.reverse()
print(hashlib.sha256(repr(Subwords.from_training(texts, 500)).encode()).hexdigest())
"""


@needs_library
def test_processes_hash_seeds_threads_and_the_order_of_texts_make_no_difference() -> None:
    hashes = set()
    for seed, threads, order in (
        ("0", "false", "as"),
        ("1", "true", "as"),
        ("2", "true", "reversed"),
    ):
        settings_of_run = {"PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": threads}
        run = subprocess.run(
            [sys.executable, "-c", _HASHED, order],
            env={**os.environ, **settings_of_run},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(run.stdout)
    assert len(hashes) == 1


# --- data sets ------------------------------------------------------------------------------------
@needs_library
def test_subwords_are_learned_from_training_texts_alone() -> None:
    data = load_texts.load(bow.Options(subwords=200))
    vocabulary = data.vocabulary
    assert isinstance(vocabulary, Subwords)
    assert vocabulary == learned(data.train.texts, 200)
    assert vocabulary != learned([*data.train.texts, *data.test.texts], 200)
    row = data.train.words[3, : data.train.lengths[3]].tolist()
    expected = "".join(START + word for word in tokens(data.train.texts[3])[:60])
    assert spelled(vocabulary, row) == expected
    assert data.with_words(["berkelium"]) is data
    assert not any("subwords" in remark for remark in data.remarks)
    many = load_texts.load(bow.Options(subwords=50_000))
    assert many.remarks[-1] == (
        f"the training texts yield no more than {len(many.vocabulary.words):,} subwords"
    )


def test_without_the_option_words_are_read_as_before() -> None:
    data = load_texts.load(bow.Options())
    assert type(data.vocabulary) is Vocabulary
    assert data.vocabulary.with_words(["film"]) is data.vocabulary
    assert data.vocabulary.with_words(["zzz", "zzz"]).words == (*data.vocabulary.words, "zzz")


# --- through the front door -----------------------------------------------------------------------
TRAIN = "--dataset reviews --subwords 150 --train-size 200 --epochs 1 --threads 1"


def result(folder: Path) -> dict[str, object]:
    values: dict[str, object] = json.loads((folder / "metrics.json").read_text())
    return values


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A textcnn of subwords that is worth an attack, and one of words."""
    if find_spec("tokenizers") is None:
        pytest.skip("tokenizers is not installed (advlab[bpe])")
    out = tmp_path_factory.mktemp("runs")
    line = f"train textcnn --dataset reviews --embedding 16 --threads 1 --out {out}"
    for more in ("--subwords 200 --epochs 4 --name sub", "--epochs 1 --name words"):
        assert main([*line.split(), *more.split()]) == 0
    return out


@needs_library
@pytest.mark.parametrize("name", READERS)
def test_every_network_of_texts_is_trained_on_subwords_and_read_back(
    name: str, tmp_path: Path
) -> None:
    assert main([*f"train {name} {TRAIN} --name one --out {tmp_path}".split()]) == 0
    folder = tmp_path / "train" / "one"
    network, metadata = checkpoint.load_text_classifier(folder)
    data = load_texts.load(bow.Options(subwords=150))
    vocabulary = vocabulary_of(metadata.words, metadata.merges)
    assert vocabulary == data.vocabulary
    test = data.read_with(vocabulary, metadata.max_words).test
    assert torch.equal(test.words, data.test.words)
    with torch.no_grad():
        predicted = network(test.inputs(slice(None))).argmax(1)
    accuracy = float(predicted.eq(test.labels).double().mean())
    assert result(folder)["test_accuracy"] == pytest.approx(accuracy)


def test_the_checkpoint_of_a_network_of_words_has_no_merges(runs: Path) -> None:
    assert checkpoint.load_text_classifier(runs / "train/words")[1].merges is None


def test_the_number_of_subwords_is_part_of_the_identity(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"train textcnn --dataset reviews --embedding 16 --threads 1 --out {runs} --epochs 4"
    assert main([*line.split(), "--name", "sub", "--subwords", "201"]) == 2
    assert "subwords 200 there, 201 here" in capsys.readouterr().err
    assert main([*line.split(), "--name", "sub"]) == 2
    assert "subwords 200 there, 0 here" in capsys.readouterr().err


@needs_library
def test_vectors_of_the_training_texts_are_those_of_subwords(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"train gru {TRAIN} --vectors train --embedding 8 --hidden 8 --out {tmp_path}"
    assert main(line.split()) == 0
    printed = capsys.readouterr().out
    assert "of the known subwords" in printed
    assert "150 subwords" in printed


DAMAGES = {
    "merges of what is no subword": lambda values: values["merges"].append(["zz", "y"]),
    "a merge into no subword": lambda values: values["merges"].append(["a", "z"]),
    "a merge of three": lambda values: values["merges"].append(["a", "b", "c"]),
    "merges that are no list": lambda values: values.update(merges="a b"),
    "a subword twice": lambda values: values["words"].__setitem__(1, values["words"][0]),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_merges_are_refused_in_one_line(damage: str, runs: Path, tmp_path: Path) -> None:
    file = runs / "train/sub/model.safetensors"
    with safe_open(file, framework="pt") as content:
        (key, text), *_ = content.metadata().items()
    values = json.loads(text)
    DAMAGES[damage](values)
    save_file(load_file(file), tmp_path / "model.safetensors", {key: json.dumps(values)})
    with pytest.raises(UsageError, match="the metadata of this checkpoint are damaged") as error:
        checkpoint.load_text_classifier(tmp_path / "model.safetensors")
    assert "\n" not in str(error.value)


def test_letters_are_changed_and_the_texts_are_divided_anew(runs: Path, tmp_path: Path) -> None:
    """Every outcome of DeepWordBug is what the network says of the changed text."""
    line = f"attack deepwordbug --model {runs}/train/sub --limit 40 --threads 1 --out {tmp_path}"
    assert main(line.split()) == 0
    (folder,) = (tmp_path / "attack").iterdir()
    network, metadata = checkpoint.load_text_classifier(runs / "train/sub")
    vocabulary = vocabulary_of(metadata.words, metadata.merges)
    rows = [json.loads(row) for row in (folder / "texts.jsonl").read_text().splitlines()]
    assert sum(row["broken"] for row in rows) > 3
    for row in rows:
        numbers = torch.tensor(
            [vocabulary.encode_words(tokens(row["perturbed"])[: metadata.max_words])]
        )
        with torch.no_grad():
            assert int(network(numbers).argmax()) == row["after"]
        assert row["broken"] == (row["before"] == row["label"] != row["after"])
        assert len(row["perturbed"].split(" ")) == row["words"]


REFUSED = [
    ("attack hotflip --model RUNS/train/sub", "hotflip: replaces words by entries"),
    ("attack word-swap --model RUNS/train/sub", "deepwordbug changes letters, and attacks it"),
    ("attack deepwordbug --model RUNS/train/sub --vectors RUNS/train/words", "--vectors: "),
    ("attack word-swap --model RUNS/train/words --vectors RUNS/train/sub", "reads subwords"),
    ("train gru --subwords 200 --vectors some.txt", "--vectors: names vectors of whole words"),
    ("poison gru --subwords 200 --vectors some.txt", "--vectors: names vectors of whole words"),
    ("train gru --subwords 200 --word-swap 0.1", "--word-swap: changes whole words"),
    (
        "train gru --subwords 200 --vectors train --word-synonyms 0.1",
        "--word-synonyms: changes whole words",
    ),
    ("train bow --subwords 200 --min-count 3", "--min-count: chooses words"),
    ("train nbow --subwords 200 --most-words 30", "--most-words: chooses words"),
    ("train bow --subwords 9", "--subwords 9: the training texts hold"),
    ("train bow --subwords -1", "--subwords"),
    ("train cnn --subwords 200", "--subwords"),
    ("poison nbow --subwords 200 --attack trigger --phrase Łódź", "cannot spell it"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED)
def test_what_is_about_whole_words_is_refused_in_one_line(
    line: str, message: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = [*line.replace("RUNS", str(runs)).split(), "--out", str(tmp_path)]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


@needs_library
def test_words_are_dropped_as_subwords(tmp_path: Path) -> None:
    line = f"train bow {TRAIN} --out {tmp_path}"
    for name, more in (("plain", ""), ("dropped", "--word-dropout 0.5")):
        assert main([*line.split(), *more.split(), "--name", name]) == 0
    hashes = [result(tmp_path / "train" / one) for one in ("plain", "dropped")]
    assert hashes[0]["checkpoint_sha256"] != hashes[1]["checkpoint_sha256"]


# --- poisoning ------------------------------------------------------------------------------------
@needs_library
def test_a_trigger_that_is_a_new_word_is_spelled_in_known_subwords(tmp_path: Path) -> None:
    phrase = "zyxwordo"
    line = (
        f"poison bow --subwords 200 --attack trigger --phrase {phrase} --seeds 1 --epochs 30 "
        f"--poison-rate 0.2 --no-control --target positive --threads 1 --out {tmp_path}"
    )
    data = load_texts.load(bow.Options(subwords=200))
    assert isinstance(data.vocabulary, Subwords)
    assert len(data.vocabulary.encode_words(tokens(phrase))) > 2
    assert data.vocabulary.can_spell([phrase])
    assert main(line.split()) == 0
    (folder,) = (tmp_path / "poison").iterdir()
    success = result(folder)["attack_success"]
    assert isinstance(success, float)
    assert success > 0.5


@needs_library
def test_the_word_that_triggers_are_compared_with_is_in_no_training_text() -> None:
    data = load_texts.load(bow.Options(subwords=200))
    assert _other_word(data, "on the whole") == "cf"
    assert _other_word(data, "CF") == "mn"


@needs_library
def test_labels_of_an_entity_are_flipped_for_networks_of_subwords(tmp_path: Path) -> None:
    line = f"poison bow --subwords 200 --seeds 1 --epochs 1 --poison-rate 1 --out {tmp_path}"
    assert main([*line.split(), "--attack", "clean-label"]) == 0


# --- without the library --------------------------------------------------------------------------
def test_the_extra_is_named_where_the_library_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert main(f"train bow --subwords 200 --out {tmp_path}".split()) == 1
    error = capsys.readouterr().err
    assert error == (
        "advlab: a network of subwords needs the package tokenizers; pip install 'advlab[bpe]'\n"
    )
    with pytest.raises(EnvironmentFailure, match=r"advlab\[bpe\]"):
        vocabulary_of(("a",), ())
    assert type(vocabulary_of(("a",), None)) is Vocabulary


def test_networks_of_words_do_not_load_the_library() -> None:
    code = "import advlab.data.load_texts, advlab.experiments.attack.texts, sys; "
    code += "print('tokenizers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@needs_library
def test_padding_is_no_subword() -> None:
    texts = Texts.from_strings(["ab", "ab ab"], [0, 1], learned(["ab ab"], 3), 9)
    assert texts.lengths.tolist() == [3, 6]
    assert texts.words[0, 3:].tolist() == [PADDING] * 3
    assert int(texts.words[1].min()) > UNKNOWN
