"""Digits: scikit-learn's 1,797 handwritten digits, enlarged to 28x28; needs no download.

The original images are 8x8 with 17 grey levels. Each level counts the inked pixels in a 4x4 patch
of a scan. They are enlarged by bicubic interpolation to 20x20, the box that the digits of MNIST
fill. Contrast is then increased, so that strokes are about as bright and as wide as those of MNIST
(15 % bright pixels against 13 % in MNIST). A border of 4 pixels gives 28x28. Networks for MNIST
therefore run on these images unchanged, but the images contain no more detail than 64 pixels.

The split has 1,257 / 180 / 360 images, drawn by class. The test images are the same for every
``--split-seed``, which only exchanges images between training and validation.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import DatasetInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from advlab.data.image_set import ImageSet

INFO = DatasetInfo(
    title="digits",
    noun="handwritten digits (scikit-learn's 8x8 set, enlarged)",
    counts=(1_257, 180, 360),
    shape=(1, 28, 28),
    classes=tuple(str(digit) for digit in range(10)),
    source="https://archive.ics.uci.edu/dataset/80",
    licence="CC BY 4.0",
)

_FILE = ("datasets", "data", "digits.csv.gz")  # within scikit-learn
_TEST_SEED = 0
_LEVELS = 16
_BOX = 20
_BORDER = 4
_DARK, _BRIGHT = 0.25, 0.8
"""Contrast stretch of the enlarged values: up to _DARK becomes 0, from _BRIGHT on 1. It removes the
blur of the interpolation."""


def present(data_dir: Path) -> bool:
    """Return True: the images ship with scikit-learn."""
    return True


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """Load the data set into memory; ``data_dir`` is unused, the caller rejects ``image_size``."""
    from advlab.data import splits
    from advlab.data.image_set import Images, ImageSet

    pixels, labels = _all_digits()
    _, val_count, test_count = INFO.counts
    development, test = splits.stratified_draw(labels, test_count, _TEST_SEED)
    train, val = (
        development[index]
        for index in splits.stratified_draw(labels[development], val_count, split_seed)
    )
    parts = (Images.from_arrays(pixels[index], labels[index]) for index in (train, val, test))
    origin = INFO.origin(len(train) + len(val), len(test))
    return ImageSet("digits", INFO.classes, next(parts), next(parts), next(parts), origin)


@cache
def _all_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all images (1797, 28, 28) and labels as read-only arrays, in scikit-learn's order.

    The images are enlarged once and cached, since a grid of runs loads them many times.
    """
    import numpy as np

    images, targets = _original()
    labels = targets.astype(np.int64)
    pixels = np.stack([_enlarge(image) for image in images])
    for array in (pixels, labels):
        array.setflags(write=False)
    return pixels, labels


def _original() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scikit-learn's images (1797, 8, 8) in [0, 16], and their labels (1797,).

    Its own function gives them only after an import of a second and more, which is a third of what
    a small run takes. They are therefore read from the file that it reads, where that is in its
    place.
    """
    import gzip
    from importlib.util import find_spec

    import numpy as np

    package = find_spec("sklearn")
    assert package is not None  # advlab depends on it
    for folder in package.submodule_search_locations or ():
        file = Path(folder, *_FILE)
        if file.is_file():
            with gzip.open(file, "rt", encoding="utf-8") as opened:
                rows = np.loadtxt(opened, delimiter=",")
            return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target


def _enlarge(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Enlarge an image of 8x8 floats in [0, 16] to 28x28 bytes."""
    import numpy as np
    from PIL import Image

    large = Image.fromarray((image / _LEVELS).astype(np.float32)).resize(
        (_BOX, _BOX), Image.Resampling.BICUBIC
    )
    stretched = np.clip((np.asarray(large) - _DARK) / (_BRIGHT - _DARK), 0, 1)
    return np.pad(np.rint(stretched * 255).astype(np.uint8), _BORDER)
