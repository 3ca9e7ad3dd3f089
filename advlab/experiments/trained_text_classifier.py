"""Classifiers of texts that advlab trained, from their checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from advlab.config.resolve import Config
from advlab.data.subwords import Subwords, vocabulary_of
from advlab.data.vocabulary import Vocabulary
from advlab.errors import UsageError
from advlab.networks import checkpoint
from advlab.networks.metadata import TEXT_CLASSIFIER, TextClassifierMetadata
from advlab.runs.results import NetworkRecord


@dataclass(frozen=True)
class TextTarget:
    """A network that reads texts, from a checkpoint.

    Attributes:
        network: from indices of words to logits, in evaluation mode.
        file: the checkpoint.
        sha256: its hash, as it was when the network was loaded.
    """

    network: nn.Module
    metadata: TextClassifierMetadata
    file: Path
    sha256: str

    @property
    def label(self) -> str:
        """A short name for titles: the run's folder for a run's checkpoint, the file's own name
        else."""
        return self.place.name if self.file.name == checkpoint.FILE else self.file.stem

    @property
    def place(self) -> Path:
        """The run's folder for a run's checkpoint, the file itself for any other."""
        return self.file.parent if self.file.name == checkpoint.FILE else self.file

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words or subwords that it knows."""
        return vocabulary_of(self.metadata.words, self.metadata.merges)

    def check_whole_words(self, option: str) -> None:
        """Refuse a network of subwords where vectors of words are meant.

        Args:
            option: which asks for them.
        """
        if isinstance(self.vocabulary, Subwords):
            raise UsageError(
                f"{option}: {self.file} reads subwords, which have no vectors of words"
            )

    @property
    def record(self) -> NetworkRecord:
        """The part of a result that describes the network."""
        return NetworkRecord(
            model=self.metadata.model,
            sha256=self.sha256,
            path=str(self.file),
            trained_on=self.metadata.dataset,
            architecture=self.metadata.architecture,
        )

    def settled(self, config: Config) -> Config:
        """The configuration with the network's place and kind in it."""
        return config.changed(checkpoint=str(self.place), model=self.metadata.model)


def loaded(place: str, option: str) -> TextTarget:
    """The network at ``place``, which the user gave with ``option``.

    Raises:
        UsageError: there is none, or it is not one that reads texts.
    """
    try:
        network, metadata = checkpoint.load_text_classifier(Path(place))
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error
    file = checkpoint.locate(Path(place), TEXT_CLASSIFIER)
    checkpoint.warn_of_unfinished(file)
    return TextTarget(network, metadata, file, checkpoint.sha256(file))
