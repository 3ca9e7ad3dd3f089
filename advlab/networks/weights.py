"""Checks of weights from a file: names, shapes and values."""

from __future__ import annotations

import contextlib
import pickle
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from advlab.errors import UsageError
from advlab.input_files import is_plain
from advlab.logs import logger
from advlab.runs.table import counted

State = dict[str, Tensor]

_FEW = 3  # names that a message lists

# Names of modules around a network that training scripts leave before those of its weights.
_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+")


def read_fitting(file: Path, named: str, expected: Callable[[], Mapping[str, Tensor]]) -> State:
    """The tensors of a safetensors file, on the CPU, once they are known to fit the network that
    the file names.

    Args:
        named, expected: as for ``check_shapes``.

    Raises:
        UsageError: names or shapes differ, or a value is impossible; the line names the file and
            the tensor.
    """
    target = check_shapes(file, named, expected)
    with _reading(file) as content:
        state = {name: content.get_tensor(name) for name in target}
    for name, tensor in state.items():
        if tensor.is_floating_point() != target[name].is_floating_point() or tensor.is_complex():
            raise UsageError(
                f"{_misfit(file, named)}: {name} holds {_kind(tensor)}, not {_kind(target[name])}"
            )
    check_values(state, str(file))
    return state


def check_shapes(
    file: Path, named: str, expected: Callable[[], Mapping[str, Tensor]]
) -> Mapping[str, Tensor]:
    """Refuse a safetensors file that does not hold the tensors of the network that it names.

    The network is built without memory, and its shapes are compared with those that the file really
    holds. So a file of a few kilobytes that claims a network of many gigabytes is refused before
    any of them is taken.

    Args:
        named: what the file says it holds ("mlp"), for the refusal.
        expected: builds the network, and returns its state by name. Called on torch's meta device.

    Returns:
        The network's state, without values.

    Raises:
        UsageError: names or shapes differ; the line names the file and the tensor.
    """
    refusal = _misfit(file, named)
    try:
        with torch.device("meta"):
            target = expected()
    except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
        raise UsageError(f"{refusal}: {str(error).splitlines()[0]}") from error
    with _reading(file) as content:
        shapes = {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
    if difference := _difference(shapes, target):
        raise UsageError(f"{refusal}: {difference}")
    return target


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[Any]:
    """The open file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with safe_open(file, framework="pt") as content:
            yield content
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{file}: its weights cannot be read: {error}") from error


def _misfit(file: Path, named: str) -> str:
    """The beginning of a refusal."""
    return f"{file}: its weights do not fit the {named} that it names"


def _difference(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, Tensor]) -> str:
    """The first tensor that is missing, of another shape, or of no use; empty where all fit."""
    for name, tensor in expected.items():
        if name not in shapes:
            return f"{name} is missing"
        if shapes[name] != tuple(tensor.shape):
            return (
                f"{name} has the shape {_shape(shapes[name])} in the file, and "
                f"{_shape(tensor.shape)} in that network"
            )
    return next(
        (f"{name} is no part of that network" for name in shapes if name not in expected), ""
    )


def check_values(state: Mapping[str, Tensor], place: str) -> None:
    """Refuse weights that no training can have left: NaN, infinity, statistics that nothing can
    have.

    With such weights a network gives the same answer to every image, or none, and every figure of
    it would be nonsense.

    Args:
        state: tensors by name.
        place: what the refusal begins with: the file, and the flag that named it where there is
            one.

    Raises:
        UsageError: there is one; the line names the tensor.
    """
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        values = tensor.detach().float()  # what is too large for float32 is infinite in the network
        if not bool(values.isfinite().all()):
            what = "NaN" if bool(values.isnan().any()) else "an infinite value"
            raise UsageError(
                f"{place}: {name} holds {what}; the file is damaged, or its training diverged"
            )
        least, most = float(values.min()), float(values.max())
        last = name.rpartition(".")[2]
        if last == "running_var" and least < 0:
            raise UsageError(
                f"{place}: {name} holds {least:g}, and a variance is at least 0; the file is "
                "damaged"
            )
        # Mean and standard deviation of pixels in [0, 1], by channel: the first layer of every
        # network of ours.
        if last == "std" and values.ndim == 4 and not (least > 0 and most <= 1):
            wrong = least if least <= 0 else most
            raise UsageError(
                f"{place}: {name} holds {wrong:g}; pixels in [0, 1] deviate by more than 0 and "
                "at most 1"
            )
        if last == "mean" and values.ndim == 4 and not (least >= 0 and most <= 1):
            wrong = least if least < 0 else most
            raise UsageError(
                f"{place}: {name} holds {wrong:g}; the mean of pixels in [0, 1] lies between 0 "
                "and 1"
            )


class UnreadableError(ValueError):
    """A file that holds no plain tensors. Its text is a phrase that says why."""


def read_plain(file: Path) -> Any:
    """What a ``.safetensors`` file holds, or what ``torch.save`` wrote, on the CPU. Nothing in it
    is run.

    Raises:
        UnreadableError: it holds code, is cut off, or is some other file.
        OSError: it cannot be read.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():  # whatever torch thinks of the file is said in the refusal
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        SafetensorError,
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
    ) as error:
        raise UnreadableError(_why_unread(error)) from error


def read_weights(file: Path) -> Any:
    """What the file that ``--weights`` names holds. No code in it is run.

    Raises:
        UsageError: there is no such file, or it cannot be read so.
    """
    if not is_plain(file):
        raise UsageError(f"--weights: no file at {file}")
    try:
        return read_plain(file)
    except UnreadableError as error:
        raise UsageError(
            f"--weights: {file} holds no state dict that can be read without running code: {error}"
        ) from error


def read_state(
    file: Path, expected: Callable[[], Collection[str]] | None = None
) -> dict[str, Tensor]:
    """The tensors of a weights file, ``.safetensors`` or what ``torch.save`` made of a state dict,
    alone or beside other entries of a training script, whatever its key. No code in it is run.

    Args:
        expected: gives the names of the network's weights. Of several state dicts the only one
            that has them is taken, and of one what ``fitting_names`` takes; a line says so.

    Raises:
        UsageError: the file is missing, holds several state dicts that may be meant, or something
            else.
    """
    candidates = dict(_state_dicts(read_weights(file)))
    if not candidates:
        raise UsageError(
            f"--weights: {file} holds no state dict (names of weights, and a tensor for each)"
        )
    names = None if expected is None else list(expected())
    weights = _unwrapped(_meant(candidates, names, file), file)
    return weights if names is None else fitting_names(weights, names, f"--weights: {file}")


_Path = tuple[str, ...]  # the keys that lead to a state dict


def _meant(
    candidates: Mapping[_Path, Mapping[object, Tensor]], names: Sequence[str] | None, file: Path
) -> Mapping[object, Tensor]:
    """The only state dict of a file, or the only one that has the network's names.

    Raises:
        UsageError: several may be meant.
    """
    if len(candidates) == 1:
        (weights,) = candidates.values()
        return weights
    fitting = [
        path
        for path, weights in candidates.items()
        if names and _prefixes([_bare(key) for key in weights], names)
    ]
    every = {path: ".".join(path) for path in candidates}
    if len(fitting) == 1:
        others = ", ".join(text for path, text in every.items() if path != fitting[0])
        logger.info(
            f"--weights: of the {len(candidates)} state dicts in {file}, {every[fitting[0]]} has "
            f"the names of the network and is taken; left out: {others}"
        )
        return candidates[fitting[0]]
    how_many = "none" if names is not None and not fitting else "only you know which"
    of_names = " has the names of the network" if how_many == "none" else " is meant"
    keys = "".join(f"[{key!r}]" for key in (fitting or list(candidates))[0])
    raise UsageError(
        f"--weights: {file} holds {len(candidates)} state dicts ({', '.join(every.values())}), and "
        f"{how_many}{of_names}; save that one alone, as in "
        f"torch.save(torch.load({str(file)!r}){keys}, 'weights.pt')"
    )


def _unwrapped(weights: Mapping[object, Tensor], file: Path) -> State:
    """A state dict without the names of wrappers around the network.

    Raises:
        UsageError: two of its names are then the same, or a tensor has no values.
    """
    named: State = {}
    for key, value in weights.items():
        name = _bare(key)
        if name in named:
            raise UsageError(
                f"--weights: {file} holds {name} twice, once as {key}; only you know which is meant"
            )
        if value.layout != torch.strided or value.is_meta:
            kind = "no values" if value.is_meta else "a sparse tensor"
            raise UsageError(f"--weights: {file}: {key} holds {kind}; save dense tensors")
        named[name] = value
    return named


def _bare(key: object) -> str:
    return _WRAPPERS.sub("", str(key))


def fitting_names(state: State, expected: Collection[str], place: str = "--weights") -> State:
    """The part of a state dict that is the network, without the name of the module around it, such
    as Lightning's ``model.``. What lies beside it, such as the weights of a loss, is left out, and
    a line counts it. The state dict as it is where it has the names, or no part of it has them.

    Args:
        expected: names of the network's weights.
        place: what messages begin with.

    Raises:
        UsageError: several parts have the names.
    """
    prefixes = _prefixes(list(state), list(expected))
    if not prefixes or "" in prefixes:
        return state
    if len(prefixes) > 1:
        raise UsageError(
            f"{place} holds weights of these names {len(prefixes)} times, under "
            f"{' and '.join(prefixes)}; only you know which are meant; save those alone, without "
            "that beginning of their names"
        )
    (prefix,) = prefixes
    part = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    if others := [name for name in state if not name.startswith(prefix)]:
        listed = ", ".join(others[:_FEW]) + (", …" if len(others) > _FEW else "")
        logger.info(
            f"{place}: the weights under {prefix} are taken, and "
            f"{counted(len(others), 'other tensor')} left out: {listed}"
        )
    return part


def _prefixes(names: Sequence[str], expected: Sequence[str]) -> list[str]:
    """What may stand before every expected name to make one of the names; an empty text where they
    are the names themselves."""
    # Counters of batches are missing in older files, and torch does without them.
    needed = [name for name in expected if not name.endswith("num_batches_tracked")]
    if not needed:
        return []
    known, first = set(names), needed[0]
    candidates = [name.removesuffix(first) for name in names if name.endswith(first)]
    return [
        prefix
        for prefix in candidates
        if prefix[-1:] in ("", ".") and all(f"{prefix}{name}" in known for name in needed)
    ]


def check_numbers(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], place: str) -> None:
    """Refuse integers or complex numbers for weights that are real, such as those of a quantised
    network, which torch would convert without a word.

    Args:
        place: what the refusal begins with.

    Raises:
        UsageError: there are some; the line names the tensor.
    """
    for name, tensor in state.items():
        target = expected.get(name)
        if target is None or not target.is_floating_point() or tensor.is_floating_point():
            continue
        raise UsageError(f"{place}: {name} holds {_kind(tensor)}, and the network {_kind(target)}")


def _state_dicts(content: Any, path: _Path = ()) -> Iterator[tuple[_Path, Mapping[object, Tensor]]]:
    """Every state dict in what a file holds, by the keys that lead to it.

    An optimizer's state, which lies under numbers, is none, and neither are losses and the like.
    """
    if not isinstance(content, Mapping) or not content:
        return
    if all(isinstance(value, Tensor) for value in content.values()):
        if any(value.ndim for value in content.values()):
            yield path, content
        return
    for name, value in content.items():
        if isinstance(name, str):
            yield from _state_dicts(value, (*path, name))


def _why_unread(error: Exception) -> str:
    """Why torch or safetensors cannot read a file as tensors, in a phrase.

    Torch's own texts advise to read the file with ``weights_only=False``, which would run whatever
    code it holds.
    """
    text = str(error)
    if "TorchScript" in text:
        return "it is a TorchScript archive, which holds a program; save its state_dict() instead"
    if named := re.search(r"GLOBAL ([\w.]+)", text):
        return (
            f"it names {named[1]}, which is code and not a tensor; save the network's "
            "state_dict() alone"
        )
    if (
        isinstance(error, (pickle.UnpicklingError, EOFError, LookupError))
        or "weights_only" in text
        or "PytorchStreamReader" in text
    ):
        return "it is cut off, or no file that torch.save wrote"
    return " ".join(line.strip() for line in text.splitlines()[:2]) or type(error).__name__


def _shape(shape: tuple[int, ...] | torch.Size) -> str:
    return " × ".join(map(str, shape)) or "of a single number"


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
