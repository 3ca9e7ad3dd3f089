"""What the functions are given: images, labels, radii, and the machine to use, checked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from advlab.api.keywords import validated
from advlab.config.options.run import AttackOptions, RunOptions
from advlab.data.image_checks import darkness
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.perturbation.precision import COMPARED, dependable, weak_precision
from advlab.perturbation.sweep import Point
from advlab.runs.machine import Machine, machine_of

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def checked_images(images: Tensor, labels: Tensor) -> Images:
    """Images and labels on the CPU, checked.

    Raises:
        ValueError: a shape, a type or a value is wrong.
    """
    # Copied, as what was made in inference mode can take no part in a gradient.
    given = {"images": as_tensor(images, "images"), "labels": as_tensor(labels, "labels")}
    for name, tensor in given.items():
        if tensor.is_meta or tensor.layout != torch.strided:
            raise ValueError(f"{name}: a dense tensor with values is needed, not {tensor.layout}")
    pixels = given["images"].detach().cpu().clone()
    classes = given["labels"].cpu().clone()
    if pixels.ndim != 4 or len(pixels) == 0:
        raise ValueError(f"images: shape {tuple(pixels.shape)}; it must be (N, C, H, W), N ≥ 1")
    if classes.shape != (len(pixels),) or classes.dtype not in INTEGERS:
        raise ValueError(
            f"labels: {classes.dtype} of shape {tuple(classes.shape)}; they must be {len(pixels)} "
            "integers"
        )
    if pixels.is_complex():
        raise ValueError(f"images: {pixels.dtype}; they must be floats in [0, 1] or bytes")
    if pixels.dtype != torch.uint8:
        pixels = pixels.float()
        if not bool(((pixels >= 0) & (pixels <= 1)).all()):
            raise ValueError("images: some values are not in [0, 1]; bytes must be uint8")
    data = Images(pixels, classes.to(torch.int64))
    if pixels.dtype == torch.uint8:
        for sentence in darkness([data]):
            warnings.warn(sentence, stacklevel=5)
    return data


def as_tensor(values: object, name: str) -> Tensor:
    """The values as a tensor.

    Raises:
        ValueError: they are nothing that torch makes one of.
    """
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(values).__name__
        raise ValueError(f"{name}: no tensor can be made of this {kind}: {error}") from error


def check_classes(classes: Tensor, count: int, what: str) -> None:
    """Refuse classes that the model does not have.

    Raises:
        ValueError: some class is not among the model's.
    """
    strange = classes[(classes < 0) | (classes >= count)]
    if len(strange):
        raise ValueError(
            f"{what}: {int(strange[0])} is no class of the model, which has {count}, from 0"
        )


def named_machine(device: str, precision: str) -> Machine:
    """The machine of these names.

    Raises:
        UsageError: one of them is no name of a device or precision, or not to be had.
    """
    options = validated(RunOptions, "machine", device=str(device), precision=precision)
    return machine_of(options.device, options.precision)


def dependable_machine(model: nn.Module, data: Images, device: str, precision: str) -> Machine:
    """The machine that is asked for, in a precision that does not weaken attacks on the model.

    Raises:
        ValueError: the model is in training mode.
    """
    machine = named_machine(device, precision)
    if precision != "auto":
        return machine
    return dependable(model, data.inputs(slice(0, COMPARED), machine.device), machine)[0]


def precision_check(
    model: nn.Module, data: Images, machine: Machine, precision: str
) -> dict[str, str]:
    """The check whether the precision that was asked for weakens attacks on the model."""
    images = data.inputs(slice(0, COMPARED), machine.device)
    return weak_precision(model, images, machine, precision)


def radius_within_one(eps: object) -> float:
    """An L∞ radius of at most 1, in every form in which ``attack`` takes one.

    Raises:
        ValueError: it is none.
    """
    try:
        radius = AttackOptions.model_validate({"eps": [eps]}).eps[0]
    except ValidationError:
        radius = math.nan
    if not radius <= 1:
        raise ValueError(f"eps: {eps!r}; it must be a number from 0 to 1")
    return radius


def required_radius(
    eps: float | str | None, where: str, options: Mapping[str, object]
) -> float | str:
    """``eps``, which has no default from Python, although the signature must name one so that
    another name for it gets an answer of its own.

    Raises:
        UsageError: it is missing, or was given by another name.
    """
    for name in ("epsilon", "radius"):
        if name in options:
            raise UsageError(f"{where}: no option {name!r}; the radius is 'eps', as in eps=0.1")
    if eps is None:
        raise UsageError(f"{where}: 'eps' is missing, the radius, as in eps=0.1")
    return eps


def fraction(flags: Tensor) -> float:
    """The fraction of flags (N,) that are true."""
    return float(flags.double().mean())


def only(points: Iterable[Point]) -> Point:
    """The one result of a sweep over one radius."""
    (point,) = points
    return point
