"""The target network of an attack on texts, and texts for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from advlab.config.options.text_attack import TextAttackOptions
from advlab.config.references import names_ensemble
from advlab.config.resolve import Config
from advlab.data import load_texts
from advlab.data.formats import word_vectors
from advlab.data.formats.word_vectors import Vectors
from advlab.data.text_set import TextSet
from advlab.data.vocabulary import Vocabulary
from advlab.data.word_space import WordSpace
from advlab.errors import UsageError
from advlab.experiments.fitting import epochs_of
from advlab.experiments.target_images import check_data_options
from advlab.experiments.train import run as training
from advlab.experiments.trained_text_classifier import TextTarget, loaded
from advlab.logs import logger
from advlab.networks.text import takes_texts, word_embedding
from advlab.results.train import TrainResult
from advlab.runs import results
from advlab.runs.table import counted

_AUTO, _USUAL = "auto", "textcnn"
_OWN = "own"


def target_and_texts(options: TextAttackOptions) -> tuple[TextTarget, TextSet]:
    """The network that the options name, and the data set as it reads it.

    Where no run is named, the newest one on the data set is taken; without one, the network is
    trained first, with its defaults.

    Raises:
        UsageError: there is no such network or data set, or they do not fit each other.
        EnvironmentFailure: the data set cannot be read or downloaded.
    """
    target = _named(options)
    config = _training(options, target)
    data = load_texts.load(config.options)
    logger.info(data.introduction())
    target = target or _newest(options, config.changed(dataset=data.name), data)
    if target.metadata.classes != data.classes:
        raise UsageError(
            f"{target.file} tells the classes {', '.join(target.metadata.classes)} apart; "
            f"{data.name} has {', '.join(data.classes)}"
        )
    return target, data.read_with(target.vocabulary, target.metadata.max_words)


def _named(options: TextAttackOptions) -> TextTarget | None:
    """The network of ``--model`` or ``--checkpoint``; None where the newest of a kind is meant."""
    for option, text in (("--checkpoint", options.checkpoint), ("--model", options.model)):
        if text is not None and names_ensemble(text):
            raise UsageError(
                f"{option} {text}: attacks on texts change the words of one network's vocabulary, "
                "and the members of an ensemble may each have their own; name one network"
            )
    named = options.model != _AUTO and not _is_component(options.model)
    if options.checkpoint is not None:
        if named:
            raise UsageError("--checkpoint and --model each name a network; leave one of them out")
        return loaded(options.checkpoint, "--checkpoint")
    return loaded(options.model, "--model") if named else None


def _is_component(name: str) -> bool:
    try:
        return takes_texts(name)
    except UsageError:
        return False


def _training(options: TextAttackOptions, target: TextTarget | None) -> Config:
    """The training whose data are meant: that of the target where no data set is named."""
    model = options.model if _is_component(options.model) else _USUAL
    chosen = {"dataset": options.dataset, **load_texts.how_loaded(options)}
    if target is not None and options.dataset == _AUTO:
        check_data_options(options, target.metadata.data, str(target.file))
        chosen.update(dataset=target.metadata.dataset, **target.metadata.data)
    shared = {key: getattr(options, key) for key in ("data_dir", "out", "device", "threads")}
    return training.configuration(model, seed=options.seed, **shared, **chosen)


def _newest(options: TextAttackOptions, config: Config, data: TextSet) -> TextTarget:
    """The newest finished training of ``--model`` on the data set; trained now where there is
    none."""
    newest = results.newest(
        Path(options.out),
        "train",
        TrainResult,
        lambda result: (
            options.model in (_AUTO, result.model) and result.data_sha256 == data.sha256()
        ),
    )
    if newest is None:
        kind = "training" if options.model == _AUTO else f"training of {options.model}"
        logger.info(
            f"no finished {kind} on {data.name} under {options.out}: training one first, "
            f"{config.component} for "
            f"{counted(epochs_of(config.options, len(data.train)), 'epoch')} of "
            f"{counted(len(data.train), 'text')}"
        )
        newest = training.run(config)
    return loaded(str(newest.folder), "--model")


# --- word vectors ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class Similarity:
    """The space in which words are similar.

    Attributes:
        space: None for a network that has no word vectors, where none were given.
        source: what a result calls it.
        contents: sha256 of the run that the vectors are from, by what it is.
    """

    space: WordSpace | None
    source: str | None
    contents: dict[str, str]


def similarity_of(options: TextAttackOptions, target: TextTarget) -> Similarity:
    """The vectors of ``--vectors``, else the target's own embeddings.

    Raises:
        UsageError: there is no such file, it holds no vectors, or none of a word that the target
            knows.
    """
    words = len(target.vocabulary)
    if options.vectors is not None:
        target.check_whole_words("--vectors")
    if options.vectors is None:
        table = word_embedding(target.network)
        if table is None:
            return Similarity(None, None, {})
        return Similarity(WordSpace(table.weight.detach().float().cpu()), _OWN, {})
    place = Path(options.vectors)
    if place.is_dir() or place.suffix == ".safetensors":
        other = loaded(options.vectors, "--vectors")
        space = WordSpace.of_vectors(_embeddings(other, target.vocabulary), words)
        return Similarity(space, options.vectors, {"vectors": other.sha256})
    vectors = word_vectors.read(place, target.vocabulary)
    return Similarity(WordSpace.of_vectors(vectors, words), options.vectors, {})


def _embeddings(other: TextTarget, vocabulary: Vocabulary) -> Vectors:
    """Another network's embeddings of those words of a vocabulary that it knows."""
    table = word_embedding(other.network)
    if table is None:
        raise UsageError(f"--vectors: {other.file} is a {other.metadata.model}, without embeddings")
    other.check_whole_words("--vectors")
    theirs = other.vocabulary.indices(vocabulary.words)
    if not theirs:
        raise UsageError(f"--vectors: {other.file} knows none of the target's words")
    numbers = torch.tensor([vocabulary.number(word) for word in theirs])
    rows = table.weight.detach().float().cpu()[list(theirs.values())]
    return Vectors(numbers, rows, len(theirs) / len(vocabulary.words))
