"""A user's own network: a function that is imported and called, or a program of torch.export."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import numpy as np
import torch
from torch import nn

from advlab.errors import UsageError
from advlab.input_files import is_plain
from advlab.networks.adapter import NetworkError, set_evaluation_mode
from advlab.networks.defaults import remember


def load(place: str, where: str) -> nn.Module:
    """The network that ``place`` names, in evaluation mode.

    Args:
        place: ``FILE.py:FUNCTION``, ``package.module:FUNCTION`` (looked for in the working
            directory too), or the place of a ``.pt2`` file that ``torch.export.save`` wrote. A
            function is called without arguments and returns the network; a class is a function
            too. The random numbers that it draws from torch, NumPy and Python are seeded.
        where: what a refusal begins with: the flag and its value.

    Raises:
        UsageError: there is no such module, file or function, it raises, or what it returns is no
            ``torch.nn.Module``.
    """
    if place.endswith(".pt2"):
        return _program(Path(place), where)
    source, _, attribute = place.rpartition(":")
    before, folder, silenced = torch.get_default_dtype(), Path.cwd(), logging.root.manager.disable
    try:
        network = _called(source, attribute, where)
        remember(network, torch.get_default_dtype())
    finally:  # whatever the file has set
        torch.set_default_dtype(before)
        os.chdir(folder)  # the places of data and runs are relative to it
        logging.disable(silenced)  # figures and failed checks are printed through it
    set_evaluation_mode(network)
    return network


def _called(source: str, attribute: str, where: str) -> nn.Module:
    """What a function of a file or module returns; see ``load``."""
    with _seeded(), _no_cache_written():
        if source.endswith(".py"):
            module = _module_of_file(Path(source), where)
        else:
            module = _module(source, where)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise UsageError(f"{where}: {source} has no function {attribute!r}")
    if isinstance(function, nn.Module):
        raise UsageError(
            f"{where}: {attribute} is a network, and a function that makes one is needed, such as "
            f"'def make(): return {attribute}'"
        )
    try:
        with _seeded():
            network = function()
    except (Exception, SystemExit) as error:  # sys.exit() in a script
        raise UsageError(f"{where}: calling it raises {in_one_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"{where}: must return a torch.nn.Module, not {type(network).__name__}")
    return network


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """The same random numbers each time, so that a function that initialises weights at random
    makes the same network whenever it is called; the caller's generators are left alone."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextlib.contextmanager
def _no_cache_written() -> Iterator[None]:
    """No compiled copy of what is imported is left, which could be taken for later changes."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _module(name: str, where: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{where}: no module named {error.name!r} here or among the installed packages"
        ) from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{where}: importing {name} raises {in_one_line(error)}") from error


class _Uncached(SourceFileLoader):
    """Compiles the source itself. Python's cache takes a file that was changed within a second, and
    kept its size, for the one of before."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file as it is."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _module_of_file(file: Path, where: str) -> ModuleType:
    """The module of a file; what lies beside the file can be imported by it."""
    if not is_plain(file):
        raise UsageError(f"{where}: no file at {file}")
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # The place is part of the name: two files of one name in two folders are two modules.
    name = f"{file.stem}_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_Uncached(name, str(file)))
    if spec is None or spec.loader is None:
        raise UsageError(f"{where}: {file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"{where}: importing {file} raises {in_one_line(error)}") from error
    return module


def _program(file: Path, where: str) -> nn.Module:
    if not is_plain(file):
        raise UsageError(f"{where}: no file at {file}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: nn.Module = torch.export.load(file).module()
    except Exception as error:
        raise UsageError(
            f"{where}: {file} is no program that torch.export.save wrote: {in_one_line(error)}"
        ) from error
    return program


def in_one_line(error: BaseException) -> str:
    """The kind of an error and the beginning of its text, on one line; of an error that a network
    raised, those of the network's own."""
    if isinstance(error, NetworkError) and error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
