"""Digits: scikit-learn's 1,797 handwritten digits, enlarged to 28x28; needs no download.

The originals are 8x8 with 17 grey levels, each counting the ink in a 4x4 patch of a scan. They are
enlarged smoothly (bicubic) to the 20x20 box that MNIST's digits fill, their blurred edges are
steepened so that strokes are as dark and as wide as MNIST's (13 % of the pixels bright there, 15 %
here), and a border of 4 pixels makes 28x28. A network of MNIST's size thus runs on them unchanged,
but they carry no more detail than 64 pixels.

The split is fixed: 1,257 / 180 / 360 images drawn by class, with the test images the same for every
``--split-seed``; that seed only moves images between training and validation.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import SetInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from advlab.data.image_set import ImageSet

INFO = SetInfo(
    title="digits",
    noun="handwritten digits (scikit-learn's 8x8 set, enlarged)",
    counts=(1_257, 180, 360),
    shape=(1, 28, 28),
    classes=tuple(str(digit) for digit in range(10)),
    source="https://archive.ics.uci.edu/dataset/80",
    licence="CC BY 4.0",
)

_TEST_SEED = 0
_LEVELS = 16
_BOX = 20
_BORDER = 4
_DARK, _BRIGHT = 0.25, 0.8
"""Enlarged values up to the first become 0, from the second on 1: undoes the blur that enlarging
leaves."""


def present(data_dir: Path) -> bool:
    """True: the images come with scikit-learn."""
    return True


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """The set in memory. ``data_dir`` is not looked at, and ``image_size`` is refused before it
    comes here."""
    from advlab.data import splits
    from advlab.data.image_set import Images, ImageSet

    pixels, labels = _everything()
    _, val_count, test_count = INFO.counts
    rest, test = splits.draw(labels, test_count, _TEST_SEED)
    kept, held_out = splits.draw(labels[rest], val_count, split_seed)
    train, val = rest[kept], rest[held_out]
    parts = (Images.of(pixels[index], labels[index]) for index in (train, val, test))
    origin = INFO.origin(len(train) + len(val), len(test))
    return ImageSet("digits", INFO.classes, next(parts), next(parts), next(parts), origin)


@cache
def _everything() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images (1797, 28, 28) and labels in scikit-learn's order, read-only: enlarged once,
    however many runs use them."""
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = np.array(bunch.target, dtype=np.int64)
    pixels = np.stack([_enlarge(image) for image in bunch.images])
    for array in (pixels, labels):
        array.setflags(write=False)
    return pixels, labels


def _enlarge(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """An image of 8x8 floats in [0, 16] as 28x28 bytes."""
    import numpy as np
    from PIL import Image

    large = Image.fromarray((image / _LEVELS).astype(np.float32)).resize(
        (_BOX, _BOX), Image.Resampling.BICUBIC
    )
    steep = np.clip((np.asarray(large) - _DARK) / (_BRIGHT - _DARK), 0, 1)
    return np.pad(np.rint(steep * 255).astype(np.uint8), _BORDER)
