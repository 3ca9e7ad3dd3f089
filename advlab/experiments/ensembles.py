"""Ensembles of networks that advlab trained: which networks go together, and what they are as
one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from advlab.config.references import members_of
from advlab.errors import UsageError
from advlab.experiments.trained_classifier import TrainedClassifier, load_classifier
from advlab.networks.ensemble import Ensemble
from advlab.networks.metadata import (
    ImageClassifierMetadata,
    TextClassifierMetadata,
)
from advlab.networks.sketch import Sketch
from advlab.runs.results import NetworkRecord


class Member(Protocol):
    """A network from a checkpoint."""

    @property
    def network(self) -> nn.Module:
        """From images or indices of words to logits."""

    @property
    def metadata(self) -> ImageClassifierMetadata | TextClassifierMetadata:
        """What its checkpoint says."""

    @property
    def file(self) -> Path:
        """The checkpoint."""

    @property
    def sha256(self) -> str:
        """The hash of the checkpoint."""


@dataclass(frozen=True)
class TrainedEnsemble:
    """Several networks of images as one.

    Attributes:
        name: as the user typed it.
        members: in the order of their hashes, so that the order in which they are typed is no part
            of what the ensemble is.
    """

    name: str
    members: Sequence[TrainedClassifier]

    @property
    def network(self) -> Ensemble:
        """From images in [0, 1] to the logarithm of the mean probability, in evaluation mode."""
        ensemble = Ensemble(member.network for member in self.members)
        ensemble.eval()
        return ensemble

    @property
    def sha256(self) -> str:
        """The hash of the hashes of all members."""
        return joint_hash(self.members)

    @property
    def metadata(self) -> ImageClassifierMetadata:
        """What all members have in common, with the training examples and filters of any."""
        first = self.members[0].metadata
        filters = {key: n for one in self.members for key, n in one.metadata.filters.items()}
        sketches = [Sketch.read(one.metadata.examples) for one in self.members]
        examples = sketches[0]
        for other in sketches[1:]:
            examples = examples.joined(other)
        return first.model_copy(
            update={
                "model": self.model,
                "architecture": {},
                "training": {},
                "examples": examples.text(),
                "filters": filters,
            }
        )

    @property
    def model(self) -> str:
        """What tables call it, by the members' components: ``ensemble(cnn, mlp)``."""
        names = sorted(member.metadata.model for member in self.members)
        return f"ensemble({', '.join(names)})"

    @property
    def record(self) -> NetworkRecord:
        """The part of a result that describes it: each member's place with its hash."""
        return NetworkRecord(
            model=self.model,
            sha256=self.sha256,
            trained_on=self.members[0].metadata.dataset,
            architecture={"members": {str(one.file): one.sha256 for one in self.members}},
            source=self.name,
        )

    @property
    def classifier(self) -> TrainedClassifier:
        """The ensemble as a network that advlab trained."""
        return TrainedClassifier(self.network, self.metadata, Path(self.name), self.sha256)


def joint_hash(members: Sequence[Member]) -> str:
    """The hash of an ensemble: of its members' hashes, in whatever order these come."""
    return hashlib.sha256("\n".join(sorted(one.sha256 for one in members)).encode()).hexdigest()


def load_ensemble(name: str, option: str) -> TrainedEnsemble:
    """The ensemble that ``option`` names, as ``ensemble:RUN,RUN``.

    Raises:
        UsageError: a member is missing, reads texts or was trained by others, or the members do not
            go together.
    """
    places = members_of(name)
    if len(places) < 2:
        raise UsageError(
            f"{option} {name}: an ensemble has two or more networks, as in ensemble:RUN,RUN"
        )
    members = [load_classifier(place, option) for place in places]
    check_alike(members, option)
    return TrainedEnsemble(name, sorted(members, key=lambda member: member.sha256))


def check_alike(members: Sequence[Member], option: str) -> None:
    """Refuse networks that do not go together: a network that comes twice, and networks of other
    data, classes or images.

    Args:
        option: what a refusal begins with.

    Raises:
        UsageError: they do not.
    """
    first, hashes = members[0], [member.sha256 for member in members]
    for member in members[1:]:
        at = hashes.index(member.sha256)
        if members[at] is not member:
            raise UsageError(f"{option}: {member.file} is the same network as {members[at].file}")
        difference = _difference(first.metadata, member.metadata)
        if difference:
            raise UsageError(
                f"{option}: {first.file} and {member.file} make no ensemble: {difference}"
            )


def _difference(
    first: ImageClassifierMetadata | TextClassifierMetadata,
    other: ImageClassifierMetadata | TextClassifierMetadata,
) -> str:
    """What two networks of an ensemble do not share, in words; empty where they go together."""
    if isinstance(first, ImageClassifierMetadata) != isinstance(other, ImageClassifierMetadata):
        return "one takes images and the other reads texts"
    if first.classes != other.classes:
        return (
            f"their classes differ ({', '.join(first.classes[:5])} and "
            f"{', '.join(other.classes[:5])})"
        )
    shapes = [one.shape for one in (first, other) if isinstance(one, ImageClassifierMetadata)]
    if len(set(shapes)) > 1:
        sides = [" × ".join(map(str, shape)) for shape in shapes]
        return f"they take images of {sides[0]} and of {sides[1]}"
    if first.dataset != other.dataset:
        return f"they were trained on {first.dataset} and on {other.dataset}"
    ways = [(key, first.data.get(key), other.data.get(key)) for key in {**first.data, **other.data}]
    for key, one, another in ways:
        if key not in _READING and one != another:
            flag = key.replace("_", "-")
            return f"their data were read with --{flag} {one} and {another}"
    return ""


_READING = ("max_words", "min_count", "most_words", "subwords")
"""Options of the data by which each network reads texts in its own way."""
