"""Reader of numeric arrays in MATLAB files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advlab.errors import EnvironmentFailure


def read(path: Path, *names: str) -> list[NDArray[Any]]:
    """Read the numeric arrays with the given names.

    Raises:
        EnvironmentFailure: the file is missing or cannot be read, or lacks one of the arrays.
    """
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings():
            # SciPy warns about duplicate names in the file, of arrays that are not read.
            warnings.simplefilter("ignore")
            content = loadmat(path, variable_names=names)
    except FileNotFoundError as error:
        raise EnvironmentFailure(f"{path}: no such file") from error
    except Exception as error:  # SciPy can raise anything on a damaged file
        raise EnvironmentFailure(f"{path}: cannot be read as a .mat file ({error})") from error
    arrays = [content.get(name) for name in names]
    for name, array in zip(names, arrays, strict=True):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif":
            raise EnvironmentFailure(f"{path}: no numeric array named {name!r}")
    return arrays
