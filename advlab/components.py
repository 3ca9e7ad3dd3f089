"""Components by name: which exist, how one is loaded, and which name was probably meant.

A component is a file of a package, and its name is the file's name.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
import re
from collections.abc import Iterable, Sequence
from types import ModuleType

from advlab.errors import EnvironmentFailure, UsageError

_MOST_LISTED = 8


def component_names(package: str) -> list[str]:
    """Names of the public modules of a package, sorted: its files that do not start with an
    underscore.

    Nothing is imported but the package itself, so this is safe on the way to a help text.
    """
    return list(_names(package))


@functools.cache  # a package is listed once: a plan of many cells asks hundreds of times
def _names(package: str) -> tuple[str, ...]:
    path = importlib.import_module(package).__path__
    modules = (module.name for module in pkgutil.iter_modules(path))
    return tuple(sorted(name for name in modules if not name.startswith("_")))


def load_component(package: str, name: str, kind: str) -> ModuleType:
    """Import ``package.name``.

    Args:
        kind: what to call the thing in the refusal ("model", "attack", "data set").

    Raises:
        UsageError: there is no such module; the line suggests the nearest name and lists all.
    """
    check_known(name, component_names(package), kind)
    return importlib.import_module(f"{package}.{name}")


def optional(module: str, what: str, extra: str) -> ModuleType:
    """Import a library that is not part of the installation.

    Args:
        module: its module.
        what: what needs it, for the refusal.
        extra: the extra that installs it.

    Raises:
        EnvironmentFailure: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise EnvironmentFailure(
            f"{what} needs the package {error.name}; pip install 'advlab[{extra}]'"
        ) from error


def check_known(name: str, known: Sequence[str], kind: str) -> None:
    """Refuse a name that is not among the known ones.

    Raises:
        UsageError: the line suggests the nearest name and lists all.
    """
    if name not in known:
        # From Python a name may be anything, None among others.
        hint = suggestion(name, known) if isinstance(name, str) else ""
        raise UsageError(f"unknown {kind} {name!r}{hint}; there are: {', '.join(known)}")


# What other programs call a flag, by what it is called here.
_ELSEWHERE = {
    "epsilon": "eps",
    "gpu": "device",
    "gpus": "device",
    "cuda": "device",
    "learning_rate": "lr",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "batch": "batch_size",
    "bs": "batch_size",
    "iterations": "steps",
    "iters": "steps",
    "num_steps": "steps",
    "arch": "model",
    "network": "model",
    "data": "dataset",
    "output": "out",
    "output_dir": "out",
    "out_dir": "to",
    "force": "overwrite",
    "random_seed": "seed",
    "num_workers": "workers",
    "weights": "checkpoint",
}


def flag_suggestion(typed: str, known: Iterable[str]) -> str:
    """``" (did you mean '--eps'?)"`` where a flag in ``known`` is close to ``typed``, in letters or
    in what it means."""
    bare = {name.removeprefix("--").replace("-", "_"): name for name in known}
    bare_name = typed.removeprefix("--").lower().replace("-", "_")
    same = bare.get(_ELSEWHERE.get(bare_name, ""))
    if same is not None:
        return f" (did you mean {same!r}?)"
    close = difflib.get_close_matches(bare_name, bare, n=1, cutoff=0.6)
    return f" (did you mean {bare[close[0]]!r}?)" if close else ""


def listed(words: Sequence[str]) -> str:
    """Words in a sentence, such as ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def suggestion(typed: str, known: Iterable[str]) -> str:
    """``" (did you mean 'cnn'?)"`` where something in ``known`` is close to ``typed``, else an
    empty string."""
    normal = {name.lower().replace("-", "_"): name for name in known}
    plain = typed.lower().replace("-", "_")
    # The beginning of a name is nearer to it than another name of one letter less.
    begun = [name for name in normal if name.startswith(f"{plain}_")] if plain else []
    close = begun or difflib.get_close_matches(plain, normal, n=1, cutoff=0.6)
    return f" (did you mean {normal[close[0]]!r}?)" if close else ""


def class_number(
    typed: str, classes: Sequence[str], option: str, *, also: Sequence[str] = (), of: str = ""
) -> int:
    """The number of the class that ``typed`` names: by its name, else by its name but for case and
    underscores, else by number.

    Args:
        option: the flag, for the refusal.
        also: other words that the flag takes, for the refusal.
        of: whose classes they are (" of mnist"), for the refusal.

    Raises:
        UsageError: there is none, or several have that name; the line lists what may have been
            meant.
    """
    if list(classes).count(typed) == 1:
        return classes.index(typed)
    plain = plain_name(typed)
    same = [number for number, name in enumerate(classes) if plain_name(name) == plain]
    if len(same) > 1:
        raise UsageError(
            f"{option} {typed}: {len(same)} classes are called so; give the number of one: "
            f"{_listed(same, classes)}"
        )
    if same:
        return same[0]
    if re.fullmatch("[0-9]{1,9}", typed) and int(typed) < len(classes):
        return int(typed)
    parts = [
        number
        for number, name in enumerate(classes)
        if plain and f" {plain} " in f" {plain_name(name)} "
    ]
    if parts:
        raise UsageError(
            f"{option} {typed}: no class is called just so; one of these may be meant: "
            f"{_listed(parts, classes)}"
        )
    few = ", ".join(classes) if len(classes) <= 15 else f"{classes[0]}, {classes[1]}, …"
    words = "".join(f", {word}" for word in also)
    raise UsageError(
        f"{option} {typed}: no such class{of}{suggestion(typed, [*classes, *also])}; "
        f"there are {few} (or a number, 0 to {len(classes) - 1}){words}"
    )


def plain_name(name: str) -> str:
    """A name without case, underscores, commas and doubled spaces, for comparisons."""
    return " ".join(name.lower().replace("_", " ").replace(",", " ").split())


def _listed(numbers: Sequence[int], classes: Sequence[str]) -> str:
    text = ", ".join(f"{classes[number]} ({number})" for number in numbers[:_MOST_LISTED])
    return text + (
        f" and {len(numbers) - _MOST_LISTED} more" if len(numbers) > _MOST_LISTED else ""
    )


def display_name(attack: str) -> str:
    """What figures call an attack, such as ``DeepFool``: the first word of its help."""
    summary: str = load_component("advlab.attacks", attack, "attack").Options.__doc__
    return summary.split(":")[0]
