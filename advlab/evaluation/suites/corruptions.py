"""Common corruptions: what happens to images without an adversary.

Hendrycks and Dietterich 2019, arXiv:1903.12261; of digits Mu and Gilmer 2019, arXiv:1906.02337.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.components import suggestion
from advlab.config.options.run import CorruptionOptions
from advlab.errors import UsageError

if TYPE_CHECKING:
    from advlab.evaluation.corruption.catalogue import Corruption


class Options(CorruptionOptions):
    """Common corruptions, no attack: noise, blur, weather and others, at five severities each."""


def corruptions(
    options: CorruptionOptions, shape: tuple[int, int, int]
) -> tuple[str, list[Corruption]]:
    """The sort of images, and the corruptions of it, or those that ``--corruptions`` names.

    Args:
        shape: channels, height and width of the images.

    Raises:
        UsageError: no corruptions suit such images, or there is none of that name.
    """
    from advlab.evaluation.corruption.catalogue import KINDS, suited

    sort = suited(*shape)
    if sort is None:
        raise UsageError(
            f"corruptions: images of {shape[0]} × {shape[1]} × {shape[2]} have none; they need one "
            "or three channels and sides of 32 pixels or more, or one channel and 16 or more"
        )
    kinds = {kind.name: kind for kind in KINDS[sort]}
    for name in options.corruptions or ():
        if name not in kinds:
            raise UsageError(
                f"--corruptions {name}: not among those of {sort}{suggestion(name, kinds)}; they "
                f"are {', '.join(kinds)}"
            )
    wanted = options.corruptions or kinds
    return sort, [kind for kind in kinds.values() if kind.name in wanted]
