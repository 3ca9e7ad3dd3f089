"""Numeric arrays from MATLAB files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advlab.errors import EnvironmentFailure


def read(path: Path, *names: str) -> list[NDArray[Any]]:
    """The numeric arrays of those names.

    Raises:
        EnvironmentFailure: the file is missing, cannot be read, or holds no such array.
    """
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of duplicate names in the file, which we do not ask for
            content = loadmat(path, variable_names=names)
    except FileNotFoundError as error:
        raise EnvironmentFailure(f"{path}: no such file") from error
    except Exception as error:  # scipy's reader raises whatever a broken file trips over
        raise EnvironmentFailure(f"{path}: cannot be read as a .mat file ({error})") from error
    arrays = [content.get(name) for name in names]
    for name, array in zip(names, arrays, strict=True):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif":
            raise EnvironmentFailure(f"{path}: holds no array of numbers called {name!r}")
    return arrays
