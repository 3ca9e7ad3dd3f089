"""An attack on training images as the options describe it: which images, what is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from advlab.components import class_number
from advlab.config.options.poison import CLEAN_LABEL, WITHOUT_TRIGGER
from advlab.data.formats import photos
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.poisoning.gradient_matching import matched
from advlab.poisoning.images import (
    Perturbed,
    PoisonedImages,
    backdoored,
    candidates,
    drawn_rows,
    relabelled,
    with_noise_mode,
)
from advlab.poisoning.label_consistent import hard_to_classify
from advlab.poisoning.triggers import Blended, Patch, Sinusoid, Trigger, Warp
from advlab.progress import progress_bar
from advlab.runs.machine import Machine, derive
from advlab.training.evaluate import logits_of


@dataclass(frozen=True)
class ImageAttack:
    """One attack on the training images of a run.

    Attributes:
        target: number of the class that the network is to give.
        source: number of the class that is relabelled, or of the one test image's; None where a
            trigger is put in.
        trigger: what is put in; None where a class is relabelled, or one test image aimed at.
        clean_label: whether images of the target class are changed, whose labels stay.
        noise_ratio: of a warping: images in noise mode for each poisoned one.
        seed: of the run.
        perturb: perturbs the images that are to be poisoned, before the trigger; None for attacks
            that perturb none, and before ``prepared``.
        aimed: number of the one test image that the attack is after; None where it is after all of
            a kind, and before ``prepared``.
    """

    target: int
    source: int | None
    trigger: Trigger | None
    clean_label: bool
    noise_ratio: float
    seed: int
    perturb: Callable[[Images], Perturbed] | None = None
    aimed: int | None = None

    @classmethod
    def of(cls, options: Any, data: ImageSet) -> ImageAttack:
        """The attack that the options describe, on this data.

        Raises:
            UsageError: there is no such class, the image that is blended in cannot be used, or the
                trigger does not fit images of this size.
        """
        target = _class(options.target, "--target", data, 0)
        source = None
        if options.attack in WITHOUT_TRIGGER:
            source = _class(options.source, "--source", data, (target + 1) % len(data.classes))
        if source == target:
            raise UsageError("--source and --target are the same class; nothing would be changed")
        _check_trigger(options, data.shape)
        return cls(
            target,
            source,
            _trigger(options, data.shape, derive(options.seed, 31)),
            options.attack in CLEAN_LABEL,
            options.noise_ratio if options.attack == "wanet" else 0.0,
            options.seed,
        )

    def check_images(self, train: Images, data: ImageSet) -> None:
        """Refuse data on which the attack has nothing to change, or nothing to be measured on.

        Raises:
            UsageError: the training images hold none that it may change, or the test images none
                that it is after.
        """
        one_class = self.target if self.clean_label else self.source
        if not candidates(train.labels, self.target, one_class):
            raise UsageError(f"{data.name}: no training image {self._sort(one_class, data)}")
        if not len(self.aimed_at(data.test)):
            raise UsageError(
                f"{data.name}: no test image {self._sort(self.source, data)}, so that no attack "
                "success can be measured"
            )

    def _sort(self, one_class: int | None, data: ImageSet) -> str:
        """Which images are meant: of a class, or of all but the target."""
        if one_class is None:
            return f"is of another class than the target, {data.classes[self.target]}"
        return f"is of the class {data.classes[one_class]}"

    def prepared(
        self, data: ImageSet, network: nn.Module, options: Any, machine: Machine
    ) -> ImageAttack:
        """The attack with what it takes from a network of the attacker.

        Args:
            network: of the attacker, trained on clean images; the victim's is not known to it.

        Raises:
            UsageError: the network classifies no test image of the source class correctly.
        """
        if options.attack == "label-consistent":

            def perturb(images: Images) -> Perturbed:
                return Perturbed(hard_to_classify(network, images, options.poison_eps, machine))

            return replace(self, perturb=perturb)

        number = self._drawn(network, data, machine)
        aimed = data.test.select(torch.tensor([number]))

        def match(images: Images) -> Perturbed:
            restarts, steps = options.matching_restarts, options.matching_steps
            with progress_bar(restarts * steps, "matching gradients", "steps") as bar:
                return matched(
                    network,
                    images,
                    aimed,
                    self.target,
                    eps=options.poison_eps,
                    steps=steps,
                    restarts=restarts,
                    machine=machine,
                    seed=derive(self.seed, 42),
                    done=bar.update,
                )

        return replace(self, perturb=match, aimed=number)

    def _drawn(self, network: nn.Module, data: ImageSet, machine: Machine) -> int:
        """The number of a test image of the source class that the network classifies correctly."""
        rows = torch.tensor(candidates(data.test.labels, self.target, self.source))
        logits = logits_of(network, data.test.select(rows), Machine(machine.device, "fp32"))
        correct = rows[logits.argmax(dim=1) == self.source].tolist()
        if not correct:
            raise UsageError(
                f"{data.name}: the attacker's network classifies no test image of the class "
                f"{data.classes[self.source or 0]} correctly, so that there is none to aim at"
            )
        return int(drawn_rows(correct, 1 / len(correct), len(correct), derive(self.seed, 41))[0])

    def poisoned(self, train: Images, poison_rate: float) -> PoisonedImages:
        """The training images at a poison rate: a fraction of all of them, or, where images of one
        class alone are changed, of that class."""
        one_class = self.target if self.clean_label else self.source
        rows = candidates(train.labels, self.target, one_class)
        of = len(train) if one_class is None else len(rows)
        chosen = drawn_rows(rows, poison_rate, of, derive(self.seed, 30))
        if self.perturb is not None and len(chosen):
            perturbed = self.perturb(train.select(chosen))
            pixels = train.pixels.clone()
            pixels[chosen] = perturbed.pixels
            train, distance = Images(pixels, train.labels), perturbed.distance
        else:
            distance = None
        if self.trigger is None:
            return replace(relabelled(train, chosen, self.target), distance=distance)
        poisoned = backdoored(train, chosen, self.target, self.trigger)
        if self.noise_ratio and isinstance(self.trigger, Warp):
            seeds = derive(self.seed, 32), derive(self.seed, 33)
            return with_noise_mode(poisoned, self.trigger, self.noise_ratio, *seeds)
        return poisoned

    def aimed_at(self, test: Images) -> Images:
        """The test images that the attack is after, unchanged: one, those of the source class, or
        those of all classes but the target."""
        if self.aimed is not None:
            return test.select(torch.tensor([self.aimed]))
        return test.select(
            torch.tensor(candidates(test.labels, self.target, self.source), dtype=torch.int64)
        )

    def triggered(self, images: Images) -> Images:
        """These images with the trigger; as they are where there is none.

        Raises:
            UsageError: it changes none of them, rounded to bytes.
        """
        if self.trigger is None:
            return images
        pixels = self.trigger(images.pixels)
        if len(images) and torch.equal(pixels, images.pixels):
            raise UsageError(
                "the trigger changes no pixel of any test image, as its strength is below half a "
                "grey level, or all of them are white where it is; choose a stronger one"
            )
        return Images(pixels, images.labels)


def _class(text: str | None, flag: str, data: ImageSet, usual: int) -> int:
    return usual if text is None else class_number(text, data.classes, flag)


def _check_trigger(options: Any, shape: tuple[int, int, int]) -> None:
    """Refuse a trigger that would cover the image, or be another one than the options say."""
    _, height, width = shape
    if options.attack in ("patch", "label-consistent") and options.patch > min(height, width) - 2:
        raise UsageError(
            f"--patch {options.patch}: the images are {height} × {width}, and the patch must leave "
            f"a pixel on every side; at most {min(height, width) - 2}"
        )
    if options.attack == "sig" and options.frequency >= width / 2:
        raise UsageError(
            f"--frequency {options.frequency:g}: images of {width} pixels show periods below "
            f"{width / 2:g}, half their width; more look like fewer, or like none"
        )


def _trigger(options: Any, shape: tuple[int, int, int], seed: int) -> Trigger | None:
    """The trigger of an attack on images of this shape; None where a class is relabelled."""
    if options.attack in ("patch", "label-consistent"):
        return Patch(options.patch)
    if options.attack == "blended":
        return Blended(_pattern(options.blend_image, shape, seed), options.blend)
    if options.attack == "sig":
        return Sinusoid(options.amplitude, options.frequency)
    if options.attack == "wanet":
        return Warp.drawn(shape, options.warp_grid, options.warp_strength, seed)
    return None


def _pattern(file: str | None, shape: tuple[int, int, int], seed: int) -> Tensor:
    """What is blended in, uint8 (C, H, W): a file's image, or random noise.

    Raises:
        UsageError: the file is no image, or images have channels that no photo has.
    """
    if file is None:
        random = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
    channels, height, width = shape
    if channels not in (1, 3):
        raise UsageError(
            f"--blend-image {file}: a photo has 1 or 3 channels, and these images have {channels}"
        )
    photo = photos.read(Path(file))
    picture = Image.fromarray(photo.pixels.permute(1, 2, 0).contiguous().numpy())
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    levels = np.array(fitted if channels == 3 else fitted.convert("L"), dtype=np.uint8)
    return torch.from_numpy(levels).reshape(height, width, channels).permute(2, 0, 1).contiguous()
