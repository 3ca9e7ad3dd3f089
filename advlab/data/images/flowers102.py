"""Oxford Flowers 102: colour photos of flowers in 102 classes, resized to 64x64.

``flowers-102/`` has the layout of torchvision: ``jpg/``, ``imagelabels.mat``, ``setid.mat``. The
official split into 1,020 / 1,020 / 6,149 images is used, so ``--split-seed`` has no effect.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import DatasetInfo, RemoteFile
from advlab.input_files import is_plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from advlab.data.image_set import ImageSet

_URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_LABELS, _SPLIT, _PHOTOS = "imagelabels.mat", "setid.mat", "jpg"
_PARTS = ("trnid", "valid", "tstid")
_SIDE = 64

# fmt: off
_CLASSES = (
    "pink primrose", "hard-leaved pocket orchid", "canterbury bells", "sweet pea",
    "english marigold", "tiger lily", "moon orchid", "bird of paradise", "monkshood",
    "globe thistle", "snapdragon", "colt's foot", "king protea", "spear thistle", "yellow iris",
    "globe-flower", "purple coneflower", "peruvian lily", "balloon flower",
    "giant white arum lily", "fire lily", "pincushion flower", "fritillary", "red ginger",
    "grape hyacinth", "corn poppy", "prince of wales feathers", "stemless gentian", "artichoke",
    "sweet william", "carnation", "garden phlox", "love in the mist", "mexican aster",
    "alpine sea holly", "ruby-lipped cattleya", "cape flower", "great masterwort", "siam tulip",
    "lenten rose", "barbeton daisy", "daffodil", "sword lily", "poinsettia", "bolero deep blue",
    "wallflower", "marigold", "buttercup", "oxeye daisy", "common dandelion", "petunia",
    "wild pansy", "primula", "sunflower", "pelargonium", "bishop of llandaff", "gaura",
    "geranium", "orange dahlia", "pink-yellow dahlia", "cautleya spicata", "japanese anemone",
    "black-eyed susan", "silverbush", "californian poppy", "osteospermum", "spring crocus",
    "bearded iris", "windflower", "tree poppy", "gazania", "azalea", "water lily", "rose",
    "thorn apple", "morning glory", "passion flower", "lotus", "toad lily", "anthurium",
    "frangipani", "clematis", "hibiscus", "columbine", "desert-rose", "tree mallow", "magnolia",
    "cyclamen", "watercress", "canna lily", "hippeastrum", "bee balm", "ball moss", "foxglove",
    "bougainvillea", "camellia", "mallow", "mexican petunia", "bromelia", "blanket flower",
    "trumpet creeper", "blackberry lily",
)
# fmt: on

INFO = DatasetInfo(
    title="Oxford Flowers 102",
    noun="photos of flowers",
    counts=(1_020, 1_020, 6_149),
    shape=(3, _SIDE, _SIDE),
    classes=_CLASSES,
    source=_URL,
    licence="none stated",
    folder="flowers-102",
    stored=(_PHOTOS, _LABELS, _SPLIT),
    files=(
        RemoteFile(_LABELS, (_URL + _LABELS,), 502, "e0620be6f572b9609742df49c70aed4d"),
        RemoteFile(_SPLIT, (_URL + _SPLIT,), 14_989, "a5357ecc9cb78c4bef273ce3793fc85c"),
        RemoteFile(
            "102flowers.tgz",
            (_URL + "102flowers.tgz",),
            344_862_509,
            "52808999861908f626f3c1f4e79d11fa",
            unpack="tar",
            members=(_PHOTOS,),
        ),
    ),
    resizable=True,
)


def present(data_dir: Path) -> bool:
    """Return whether the folder of photos and both lists exist under ``data_dir``."""
    folder = data_dir / INFO.folder
    return (folder / _PHOTOS).is_dir() and is_plain(folder / _LABELS) and is_plain(folder / _SPLIT)


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """Load the data set into memory, cropped to centred squares and scaled.

    Args:
        image_size: side of the images in pixels; default: 64.

    Raises:
        EnvironmentFailure: a file is missing or corrupt; the message names it.
    """
    import numpy as np
    import torch

    from advlab.data.formats import image_files
    from advlab.data.image_set import Images, ImageSet

    folder = data_dir / INFO.folder
    labels, parts = _lists(folder)
    numbers = np.concatenate(parts)
    paths = [folder / _PHOTOS / f"image_{number:05d}.jpg" for number in numbers]
    pixels = image_files.decode(paths, image_size or _SIDE, INFO.title, keep_grey=False).pixels
    targets = torch.from_numpy(labels[numbers - 1])
    ends = np.cumsum([len(part) for part in parts])
    splits = [
        Images(pixels[end - len(part) : end], targets[end - len(part) : end])
        for part, end in zip(parts, ends, strict=True)
    ]
    train, val, test = splits
    return ImageSet(
        "flowers102", INFO.classes, train, val, test, INFO.origin(len(train) + len(val), len(test))
    )


def _lists(folder: Path) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the labels of all photos and the photo numbers of each split.

    Labels count from 0, photo numbers from 1.
    """
    import numpy as np

    from advlab.data import label_checks
    from advlab.data.formats import mat
    from advlab.errors import EnvironmentFailure

    (raw,) = mat.read(folder / _LABELS, "labels")
    labels = raw.reshape(-1).astype(np.int64) - 1
    parts = [part.reshape(-1).astype(np.int64) for part in mat.read(folder / _SPLIT, *_PARTS)]
    numbers = np.concatenate(parts)
    if (
        len(np.unique(numbers)) != len(numbers)
        or not ((numbers >= 1) & (numbers <= len(labels))).all()
    ):
        raise EnvironmentFailure(
            f"{folder / _SPLIT}: lists a photo twice, or one without a label (there are "
            f"{len(labels):,} labels)"
        )
    for number, part in enumerate(parts):
        label_checks.check_labels(
            labels[part - 1],
            len(part),
            len(INFO.classes),
            folder / _LABELS,
            every_class=number == 0,
        )
    return labels, parts
