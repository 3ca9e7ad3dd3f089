"""Suites of attacks, and one attack of a suite: its settings, what it knows of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from pydantic import JsonValue

from advlab.components import check_known, component_names, load_component, suggestion
from advlab.config.base import Options
from advlab.config.options.run import EvaluateOptions
from advlab.errors import UsageError

_PACKAGE = "advlab.evaluation.suites"

_SEEDS = 2**31
Sight = Literal["control", "white", "black"]


@dataclass(frozen=True)
class Entry:
    """One attack of a suite.

    Attributes:
        label: what the tables call it.
        attack: a file of ``advlab/attacks``.
        sight: "white" with gradients of the network itself, "black" without them, "control" for
            noise.
        settings: options that differ from the attack's own defaults.
        transfer: whether the images are made on another network.
        minimum_norm: whether it looks for the smallest perturbation, and not for the largest loss.
        classes: how many classes it needs at least.
        nearest_first: whether it attacks groups of images, those nearest to being broken first,
            until one withstands whole; see ``advlab.evaluation.nearest_first``.
        after: the label of an attack without whose success it is not run.
        seed_shift: what is added to the seed, for an attack that another entry begins.
    """

    label: str
    attack: str
    sight: Sight
    settings: dict[str, JsonValue] = field(default_factory=dict)
    transfer: bool = False
    minimum_norm: bool = False
    classes: int = 2
    nearest_first: bool = False
    after: str = ""
    seed_shift: int = 0

    def seed(self, seed: int) -> int:
        """The seed of the attack in a run with this seed."""
        return (seed + self.seed_shift) % _SEEDS

    @property
    def smoothed(self) -> bool:
        """Whether its gradients are averages over points around the image, and others are not.

        Those of a random network are averages anyway, and each further attack breaks some of its
        images by chance.
        """
        return bool(self.settings.get("smoothing")) and self.settings.get("eot", 1) == 1

    def kind(self) -> type[Options]:
        """The attack's options class."""
        kind: type[Options] = load_component("advlab.attacks", self.attack, "attack").Options
        return kind

    def knows(self, norm: str) -> bool:
        """Whether the attack exists in this norm."""
        return norm in get_args(self.kind().model_fields["norm"].annotation)


def attack_suite(name: str) -> Any:
    """The module of a suite of attacks.

    Raises:
        UsageError: there is none of that name, or it is of another kind, as corruptions and
            detection are.
    """
    every = component_names(_PACKAGE)
    of_attacks = [
        other
        for other in every
        if issubclass(load_component(_PACKAGE, other, "suite").Options, EvaluateOptions)
    ]
    if name in every and name not in of_attacks:
        raise UsageError(f"{name}: is no suite of attacks; these are: {', '.join(of_attacks)}")
    check_known(name, of_attacks, "suite")
    return load_component(_PACKAGE, name, "suite")


def selected(
    entries: Sequence[Entry], names: Sequence[str] | None, suite: str, option: str
) -> list[Entry]:
    """Those attacks of a suite that are named, whatever the case; all of them for None.

    Args:
        names: as the suite's table calls them.
        suite: its name, for the refusal.
        option: what the names were given by, for the refusal.

    Raises:
        UsageError: the suite has none of that name.
    """
    if names is None:
        return list(entries)
    labels = [entry.label for entry in entries]
    known = {label.lower() for label in labels}
    for name in names:
        if name.lower() not in known:
            raise UsageError(
                f"{option} {name}: not in the {suite} suite{suggestion(name, labels)}; it has "
                f"{', '.join(labels)}"
            )
    wanted = {name.lower() for name in names}
    return [entry for entry in entries if entry.label.lower() in wanted]


def averaging(entries: Sequence[Entry], samples: int | None) -> list[Entry]:
    """The attacks with gradients that are averages over so many passes; as they are for None."""
    return [
        replace(entry, settings={**entry.settings, "eot": samples})
        if samples is not None and "eot" in entry.kind().model_fields
        else entry
        for entry in entries
    ]


def gradient_samples(entries: Sequence[Entry]) -> int:
    """How many passes the attacks' gradients are averages of; the largest where they differ."""
    return max((int(str(entry.settings.get("eot", 1))) for entry in entries), default=1)
