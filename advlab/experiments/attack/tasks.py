"""What ``advlab attack`` is after: pairs of an image of a data set and a goal."""

from __future__ import annotations

import torch
from torch import Tensor

from advlab.components import class_number
from advlab.config.options.run import ImageAttackOptions
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.experiments.target_images import image_number
from advlab.perturbation.sweep import Tasks


def tasks_of(options: ImageAttackOptions, data: ImageSet) -> tuple[Images, str | int | None]:
    """The images that are meant, and the target: None, a class's number, ``each``, ``next`` or
    ``least-likely``.

    Raises:
        UsageError: there is no image of that number, no class of that name, or nothing to be pushed
            to that class.
    """
    total = len(data.test)
    if options.image is not None:
        chosen = torch.tensor([image_number(options.image, data)])
    else:
        chosen = torch.arange(min(options.limit or total, total))
    images, target = data.test.select(chosen), _target(options.target, data)
    if isinstance(target, int) and bool((images.labels == target).all()):
        raise UsageError(f"--target {options.target}: every image chosen is of that class already")
    return images, target


def _target(typed: str | None, data: ImageSet) -> str | int | None:
    """A class by its name or, where no name is so, by its number; the three words stay what they
    are."""
    if typed is None or typed in ("each", "next", "least-likely"):
        return typed
    return class_number(
        typed,
        data.classes,
        "--target",
        also=("each", "next", "least-likely"),
        of=f" of {data.name}",
    )


def pairs(images: Images, first: int, target: str | int | None, clean: Tensor) -> Tasks:
    """Pairs of image and goal. An image whose true class is the target is not a task: it is there
    already."""
    index, labels, classes = torch.arange(len(images)), images.labels, clean.shape[1]
    if target is None:
        return Tasks(images, index, labels, targeted=False, first=first)
    if target == "each":
        both = torch.cartesian_prod(index, torch.arange(classes))
        both = both[labels[both[:, 0]] != both[:, 1]]
        return Tasks(
            images, both[:, 0].contiguous(), both[:, 1].contiguous(), targeted=True, first=first
        )
    if target == "next":
        targets = (labels + 1) % classes
    elif target == "least-likely":
        targets = clean.scatter(1, labels[:, None], torch.inf).argmin(dim=1)
    else:
        targets = torch.full_like(labels, int(target))
    keep = targets != labels
    return Tasks(images, index[keep], targets[keep], targeted=True, first=first)
