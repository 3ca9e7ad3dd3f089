"""Names of RobustBench's networks, and the threat models that they were trained for.

RobustBench (arXiv:2010.09670) keeps a network under its data set, its threat model and its name.
Nothing is imported here: these functions read the name alone.
"""

from __future__ import annotations

from typing import NamedTuple

from advlab.errors import UsageError

PREFIX = "robustbench:"
"""What the name of a network of RobustBench begins with."""

_DATASETS = {"cifar10": "cifar10", "cifar100": "torchvision:CIFAR100", "imagenet": None}
_THREATS = ("Linf", "L2", "corruptions")
_RADII = {
    ("cifar10", "Linf"): 8 / 255,
    ("cifar10", "L2"): 0.5,
    ("cifar100", "Linf"): 8 / 255,
    ("cifar100", "L2"): 0.5,
    ("imagenet", "Linf"): 4 / 255,
    ("imagenet", "L2"): 3.0,
}


class Entry(NamedTuple):
    """A network of RobustBench.

    Attributes:
        dataset: ``cifar10``, ``cifar100`` or ``imagenet``.
        threat: ``Linf``, ``L2`` or ``corruptions``.
        name: of the network, such as ``Carmon2019Unlabeled``.
    """

    dataset: str
    threat: str
    name: str

    @property
    def place(self) -> str:
        """The three as one: ``cifar10/Linf/Carmon2019Unlabeled``."""
        return "/".join(self)


def entry_of(text: str) -> Entry:
    """The network that ``robustbench:NAME`` names, or ``robustbench:DATASET/THREAT/NAME``. Without
    data set and threat model they are CIFAR-10 and L∞, as in RobustBench itself.

    Raises:
        UsageError: RobustBench has no such data set or threat model.
    """
    parts = text.removeprefix(PREFIX).split("/")
    if len(parts) == 1:
        parts = ["cifar10", "Linf", *parts]
    datasets = {known.lower(): known for known in _DATASETS}
    threats = {known.lower(): known for known in _THREATS}
    if len(parts) != 3 or parts[0].lower() not in datasets or parts[1].lower() not in threats:
        raise UsageError(
            f"{text}: must be {PREFIX}NAME, for CIFAR-10 and L∞, or {PREFIX}DATASET/THREAT/NAME "
            f"with one of {', '.join(_DATASETS)} and one of {', '.join(_THREATS)}"
        )
    return Entry(datasets[parts[0].lower()], threats[parts[1].lower()], parts[2])


def benchmark_of(text: object) -> dict[str, object]:
    """The options ``dataset``, ``norm`` and ``eps`` with which RobustBench judges the network that
    ``text`` names, as far as there are such; empty for any other text.

    Raises:
        UsageError: RobustBench has no such data set or threat model.
    """
    if not isinstance(text, str) or not text.startswith(PREFIX):
        return {}
    entry = entry_of(text)
    options: dict[str, object] = {}
    if (dataset := _DATASETS[entry.dataset]) is not None:
        options["dataset"] = dataset
    if (radius := _RADII.get((entry.dataset, entry.threat))) is not None:
        options |= {"norm": entry.threat.lower(), "eps": radius}
    return options
