"""Networks of RobustBench's model zoo (arXiv:2010.09670), loaded by RobustBench's own code.

RobustBench is not part of the installation: ``pip install 'advlab[robustbench]'``. Nothing here
imports it before one of its networks is named.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from advlab.components import optional, suggestion
from advlab.config.robustbench import Entry
from advlab.errors import EnvironmentFailure, UsageError
from advlab.networks.preprocessing import Preprocessing
from advlab.networks.weights import read_weights

_optional = partial(optional, what="robustbench:NAME", extra="robustbench")
_STATISTICS = ("running_mean", "running_var")  # of batch normalisation
# What RobustBench imports for its own evaluation, and the package that it installs for it.
_AUTOATTACK = {"autoattack": "pyautoattack", "autoattack.state": "pyautoattack.state"}


def folder() -> Path:
    """Where RobustBench's files are kept: a folder for each data set, in it one for each threat
    model."""
    return Path(torch.hub.get_dir()) / "robustbench"


def downloaded(entry: Entry) -> nn.Module:
    """The network with its own weights, which RobustBench downloads once and keeps.

    Raises:
        UsageError: RobustBench has no such network.
        EnvironmentFailure: they cannot be downloaded, or the file is broken.
    """
    _check_known(entry)
    place = folder() / entry.dataset / entry.threat / f"{entry.name}.pt"
    try:
        return _loaded(entry, folder())
    except Exception as error:  # gdown's and requests' own errors derive from several bases
        text = " ".join(str(error).split())[:200]
        again = f"; remove {place}, and it is downloaded again" if place.is_file() else ""
        raise EnvironmentFailure(
            f"the weights of robustbench:{entry.place} cannot be had "
            f"({type(error).__name__}: {text}){again}{elsewhere(entry)}"
        ) from error


def is_kept(entry: Entry) -> bool:
    """Whether RobustBench has the network's files; True as well for the few networks whose weights
    another library keeps."""
    names, place = _files(entry), folder() / entry.dataset / entry.threat
    return all((place / name).is_file() for name in names)


def elsewhere(entry: Entry) -> str:
    """Where else the weights may come from, for a refusal."""
    names = _files(entry)
    if len(names) == 1:
        return f"; '--weights FILE' takes them from a file ({names[0]})"
    place = folder() / entry.dataset / entry.threat
    return f"; put its files into {place}: {', '.join(names)}" if names else ""


def _files(entry: Entry) -> list[str]:
    """The names of the files that RobustBench keeps of a network; none where its weights are those
    of another library."""
    identities = _check_known(entry).get("gdrive_id")
    if isinstance(identities, list):
        return [f"{entry.name}.pt_m{number}.pt" for number in range(len(identities))]
    # RobustBench's own loader knows them by this name.
    foreign = entry.dataset == "imagenet" and "Standard" in entry.name
    return [] if foreign else [f"{entry.name}.pt"]


def build(entry: Entry, file: Path) -> nn.Module:
    """The network with the weights of a file as RobustBench distributes it, in evaluation mode.

    Raises:
        UsageError: RobustBench has no such network, the network consists of several files, or this
            file holds other weights.
    """
    refusal = f"--weights: {file} does not hold weights of robustbench:{entry.place}"
    if len(_files(entry)) > 1:
        raise UsageError(
            f"--weights: robustbench:{entry.place} has several files{elsewhere(entry)}"
        )
    content = read_weights(file)
    with tempfile.TemporaryDirectory() as root:
        place = Path(root) / entry.dataset / entry.threat
        place.mkdir(parents=True)
        copy = place / f"{entry.name}.pt"
        if file.suffix == ".safetensors":
            torch.save(content, copy)
        else:
            shutil.copyfile(file, copy)
        try:
            return _loaded(entry, Path(root), from_file=True)
        except (RuntimeError, LookupError, TypeError, AttributeError) as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[1:2]) or str(error)
            raise UsageError(f"{refusal}: {reason[:200]}") from error


def fresh(entry: Entry) -> nn.Module:
    """The network with random weights, in evaluation mode.

    Raises:
        UsageError: RobustBench has no such network.
        EnvironmentFailure: RobustBench is not installed.
    """
    network: nn.Module = _check_known(entry)["model"]()
    return network.eval()


def preprocessing(entry: Entry) -> Preprocessing:
    """What RobustBench does to images before the network, which normalises them itself: nothing
    for CIFAR, scaling and cropping for ImageNet."""
    _check_known(entry)
    enums = _imported("robustbench.model_zoo.enums")
    steps = _imported("robustbench.data").get_preprocessing(
        enums.BenchmarkDataset(entry.dataset), enums.ThreatModel(entry.threat), entry.name, None
    )
    resize, crop, interpolation = None, None, "bilinear"
    for step in steps.transforms:
        if type(step).__name__ == "Resize":
            interpolation = str(step.interpolation.value)
            resize = step.size if isinstance(step.size, int) else min(step.size)
            # Scaled to a square there; here the shorter side, then the middle.
            crop = None if isinstance(step.size, int) else resize
        elif type(step).__name__ == "CenterCrop":
            crop = step.size if isinstance(step.size, int) else min(step.size)
    return Preprocessing(resize, crop, interpolation)


def _loaded(entry: Entry, root: Path, from_file: bool = False) -> nn.Module:
    """The network as RobustBench loads it from the files under ``root``.

    Args:
        from_file: whether it must have read one of them.

    Raises:
        RuntimeError: weights are missing in the file, or RobustBench did not read it.
    """
    load = _imported("robustbench.utils").load_model
    with _complete(entry) as read, contextlib.redirect_stdout(sys.stderr):
        network: nn.Module = load(
            entry.name, model_dir=root, dataset=entry.dataset, threat_model=entry.threat
        )
    if from_file and not read:
        raise RuntimeError("\nRobustBench does not read this network's weights from such a file")
    return network.eval()


@contextlib.contextmanager
def _complete(entry: Entry) -> Iterator[list[str]]:
    """Within it, loading the network fails where a weight is missing in the file. The list that it
    yields has an entry once a file was loaded.

    RobustBench loads some of its networks although entries are missing, meant for the mean and
    deviation that their code sets itself. Weights that are missing would stay random.
    """
    zoo = _zoo(entry)
    known, read = zoo[entry.name], list[str]()

    def checked() -> nn.Module:
        network: nn.Module = known["model"]()
        weights = {name for name, _ in network.named_parameters()}
        weights |= {name for name, _ in network.named_buffers() if name.endswith(_STATISTICS)}

        def refuse(_: nn.Module, keys: Any) -> None:
            read.append(entry.name)
            missing = [key for key in keys.missing_keys if key in weights]
            if missing:
                raise RuntimeError(
                    f"\n{len(missing)} of its {len(weights)} weights are missing, first "
                    f"{missing[0]}"
                )

        network.register_load_state_dict_post_hook(refuse)
        return network

    zoo[entry.name] = {**known, "model": checked}
    try:
        yield read
    finally:
        zoo[entry.name] = known


def _imported(module: str) -> ModuleType:
    """A module of RobustBench.

    Its package cannot be imported as it is installed, since it asks for AutoAttack by another name
    than its dependency has; nothing here needs AutoAttack.
    """
    missing = {} if find_spec("autoattack") else _AUTOATTACK
    try:
        for name, real in missing.items():
            if find_spec("pyautoattack"):
                sys.modules[name] = importlib.import_module(real)
        with warnings.catch_warnings():  # meant for its authors
            warnings.simplefilter("ignore")
            return _optional(module)
    finally:
        for name in missing:
            sys.modules.pop(name, None)


def _zoo(entry: Entry) -> dict[str, dict[str, Any]]:
    """What RobustBench has for the data set and the threat model, by name."""
    enums = _imported("robustbench.model_zoo.enums")
    models = _imported("robustbench.model_zoo").model_dicts
    zoo: dict[str, dict[str, Any]] = models.get(enums.BenchmarkDataset(entry.dataset), {}).get(
        enums.ThreatModel(entry.threat), {}
    )
    return zoo


def _check_known(entry: Entry) -> dict[str, Any]:
    """What RobustBench says of a network.

    Raises:
        UsageError: it has none of that name.
        EnvironmentFailure: RobustBench is not installed.
    """
    zoo = _zoo(entry)
    if entry.name not in zoo:
        raise UsageError(
            f"robustbench:{entry.place}: RobustBench has no network of that name for "
            f"{entry.dataset} and {entry.threat}{suggestion(entry.name, list(zoo))}; there are "
            f"{len(zoo)}" + (f", such as {next(iter(zoo))}" if zoo else "")
        )
    return zoo[entry.name]
