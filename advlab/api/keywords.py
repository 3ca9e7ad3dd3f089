"""Options and refusals of the functions, in Python's words instead of the command line's."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import nn

from advlab.components import flag_suggestion
from advlab.config.base import Options
from advlab.config.explain import explain
from advlab.config.options.run import TargetOptions
from advlab.errors import AdvlabError, UsageError
from advlab.networks.defaults import own_defaults

_LOADED = "give load_model the option, and the function the model"
# Options of the command line that do nothing here, and what takes their place where something does.
_INSTEAD = {
    **dict.fromkeys(
        ("weights", "classes", "output", "mean", "std", "resize", "crop", "model"), _LOADED
    ),
    **dict.fromkeys(("limit", "image"), "give the images that are meant"),
    **dict.fromkeys(("seeds", "workers", "cluster", "out", "name", "track"), "advlab.run takes it"),
    "target": "give 'targets', a class for each image",
    "keep_broken": "there is one radius",
    "smallest_eps": "it is for a photo",
    "confidence": "it is for a photo",
}
_HERE_TOO = {"seed", "device", "precision"}  # options of the command line that are options here too

Kind = TypeVar("Kind", bound=Options)
Function = TypeVar("Function", bound=Callable[..., Any])


# A flag, but for those of a whole line of the command line, which stands in quotes.
_FLAG = re.compile(
    r"'advlab [^']*'|(?<![\w/.-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?: \((\w+=) in Python\))?"
)


def in_keywords(**names: str) -> Callable[[Function], Function]:
    """Have errors and failed checks of a function name its keyword arguments, where the code that
    it shares with the command line names flags.

    Args:
        names: what the function calls an option of another name, by that name.
    """

    def keyword(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        if match[2] is not None:
            return match[2]
        name = match[1].replace("-", "_")
        return names.get(name, name)

    def reworded(text: str) -> str:
        return _FLAG.sub(keyword, text)

    def decorated(function: Function) -> Function:
        @functools.wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            try:
                result = function(*arguments, **options)
            except AdvlabError as error:
                error.args = tuple(
                    reworded(part) if isinstance(part, str) else part for part in error.args
                )
                raise
            if failed := getattr(result, "checks_failed", None):
                checks = {name: reworded(sentence) for name, sentence in failed.items()}
                return replace(result, checks_failed=checks)
            return result

        return called  # type: ignore[return-value]

    return decorated


def undisturbed(function: Function) -> Function:
    """Have the function compute the same whatever the caller has switched on or off around it, and
    refuse what is no model.

    In ``torch.inference_mode`` no gradient is recorded, and attacks would stand still; in mixed
    precision, or with another default type of numbers, figures would be others.
    """

    @functools.wraps(function)
    def called(model: nn.Module, *arguments: Any, **options: Any) -> Any:
        surrogate = options.get("surrogate")
        for one in (model, *([] if surrogate is None else [surrogate])):
            if not isinstance(one, nn.Module):
                raise TypeError(
                    f"a model must be a torch.nn.Module, not {type(one).__name__}; "
                    "advlab.load_model loads one by its name"
                )
        with torch.inference_mode(False), torch.enable_grad(), own_defaults():
            return function(model, *arguments, **options)

    return called  # type: ignore[return-value]


def validated(kind: type[Kind], where: str, **values: Any) -> Kind:
    """The options with these values.

    Raises:
        UsageError: there is no such option, or a value is out of range.
    """
    for name in values:
        if name not in kind.model_fields:
            raise UsageError(
                f"{where}: no option {name!r}{flag_suggestion(name, kind.model_fields)}"
            )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        text = explain(error, kind, lambda name: f"{where}: {name}", values)
        raise UsageError(text) from error


def refuse_of_command_line(options: Mapping[str, Any], where: str) -> None:
    """Refuse options that say to the command line which network, which images, or how a run is
    carried out: here they would be accepted and do nothing.

    Raises:
        UsageError: there is one.
    """
    fields = {*TargetOptions.model_fields, *_INSTEAD}
    for name in options:
        if name in fields - _HERE_TOO:
            instead = _INSTEAD.get(name, "from Python there is nothing that it would say")
            raise UsageError(f"{where}: {name!r} is an option of the command line; {instead}")


def path_text(value: object, where: str) -> str:
    """A name or a path as text.

    Raises:
        UsageError: it is neither.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise UsageError(f"{where}: must be a text or a path, not {value!r}")
    return text
