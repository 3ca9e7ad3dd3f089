"""What runs are called beside each other: by what tells them apart."""

from __future__ import annotations

from collections.abc import Sequence

from advlab.config.registry import COMMANDS
from advlab.experiments.titles import title_of
from advlab.runs import identity
from advlab.runs.results import Finished, Result

_MOST = 3  # differences in a label; more of them are no name


def labels_of(runs: Sequence[Finished[Result]]) -> list[str]:
    """A label for each run; runs that differ in the seed alone share theirs.

    A label says the component, the network and the options in which the runs differ. Where these
    are too many, or where they do not tell different runs apart, it is command and name of the run.
    """
    described = [_described(run) for run in runs]
    # An option that some of them do not have, such as the steps of one attack, tells nothing apart.
    names = [name for name in described[0] if all(name in one for one in described)]
    usual = set.intersection(*map(_usual, runs))
    differing = [
        name for name in names if name not in usual and len({one[name] for one in described}) > 1
    ]
    full_names = full_names_of(runs)
    keys = [_key(run) for run in runs]
    if len(set(keys)) == 1 and described[0] == described[-1]:
        return [described[0]["component"]] * len(runs)
    if len(differing) > _MOST or not differing:
        return full_names
    labels = [
        ", ".join(one[name] if name in _OWN_WORDS else f"{name} {one[name]}" for name in differing)
        for one in described
    ]
    runs_by_label: dict[str, set[str]] = {}
    for label, key in zip(labels, keys, strict=True):
        runs_by_label.setdefault(label, set()).add(key)
    return [
        label if label and len(runs_by_label[label]) == 1 else full
        for label, full in zip(labels, full_names, strict=True)
    ]


def full_names_of(runs: Sequence[Finished[Result]]) -> list[str]:
    """Command and name of each run; its folder where another run has the same name elsewhere."""
    names = [f"{run.folder.parent.name}/{run.folder.name}" for run in runs]
    return [
        name if names.count(name) == 1 else str(run.folder)
        for name, run in zip(names, runs, strict=True)
    ]


_OWN_WORDS = ("command", "component", "model", "dataset")
"""What stands in a label without its name."""
_SAID_ELSEWHERE = ("seed", "model", "dataset", "checkpoint", "factory", "eps", "limit")
"""Options that are part of another word, or of the condition of the figure."""


def _usual(run: Finished[Result]) -> set[str]:
    """Words of the options that have the default of the run's component, which need not be that of
    another component."""
    stored = identity.read(run.folder)
    if stored is None or run.result.command not in COMMANDS:
        return set()
    command = COMMANDS[run.result.command]
    if run.result.component not in command.components():
        return set()
    fields = command.options(run.result.component).model_fields
    return {
        name.replace("_", " ")
        for name, value in stored.options.items()
        if name in fields and fields[name].get_default(call_default_factory=True) == value
    }


def _described(run: Finished[Result]) -> dict[str, str]:
    """What a run was made of, in words."""
    result, stored = run.result, identity.read(run.folder)
    words = {"command": result.command, "component": result.component, "dataset": result.dataset}
    network = getattr(result, "network", None)
    if network is not None:
        words["model"] = title_of(network)
    elif result.model is not None and result.model != result.component:
        words["model"] = result.model
    if stored is not None:
        words |= {
            name.replace("_", " "): "none" if value is None else str(value)
            for name, value in stored.options.items()
            if name not in _SAID_ELSEWHERE
        }
    return words


def _key(run: Finished[Result]) -> str:
    """A text that runs share that differ in the seed alone."""
    stored = identity.read(run.folder)
    if stored is None:
        return str(run.folder)
    options = {name: value for name, value in stored.options.items() if name != "seed"}
    return identity.Identity(stored.command, stored.component, options, stored.contents).text()
