"""Sanity checks of a robustness figure, before and after the attacks.

After Carlini et al. 2019 (arXiv:1902.06705), section 4 and 5, and the flags of AutoAttack
(arXiv:2003.01690).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.special import bdtr  # scipy.stats takes a second to import
from torch import Tensor

from advlab.attacks import fgsm, pgd
from advlab.data.image_set import Images
from advlab.logs import logger
from advlab.metrics.classification import is_correct
from advlab.perturbation.geometry import best_linear
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import repeatable
from advlab.perturbation.sweep import Attack, Tasks, sweep
from advlab.perturbation.victim import GradientCount, Victim
from advlab.runs.machine import derive

_NEGLIGIBLE = 0.01  # of the images: less than this proves nothing
_UNLIKELY = 0.01
_SURPRISING = 0.05  # of the images that were robust before
_ZEROS = 0.1  # of the images without any gradient
_GREY_LEVELS = (0.5, 1.0, 2.0)  # how far pixels move to see whether the gradient is right
_PROMISED = 0.1  # the least fraction of the promised rise of the loss, within half a grey level
_LOST = 0.5  # how much of a rise may be lost again on the way to twice the distance
_ROUNDING = 32  # a rise by fewer units of the last place of the logits proves nothing
_FEW, _REPETITIONS = 4, 12  # images that a network is asked about again, and how often
_ALONE = 16  # images whose logits alone are compared with those in a batch
_FAR = 0.1  # of the largest logit: a difference that no rounding makes
_PROBED, _DRAWS = 16, 4  # images, and directions, for pixels without a gradient
_LOOKS = 96  # gradients of each pixel, at least, before it counts as one without
_BESIDE = 8.0  # grey levels, up to which pixels move to see whether they have one beside an image
_SILENT = 0.001  # of the mean size of a gradient: less is none
_HEARD = 0.1  # of the change of the loss: more than pixels without a gradient can make
_END = 0.1  # of the range of a sigmoid, in which its gradient vanishes
_FEWEST_OUTPUTS = 20  # fewer may all lie in [0, 1] by chance
_TENSOR_CORE = 0.03  # relative: TF32, in which CUDA convolves, has ten bits


def preflight(
    victim: Victim,
    images: Images,
    norm: str,
    eps: float,
    seed: int,
    samples: int = 1,
    batch: Tensor | None = None,
) -> dict[str, str]:
    """The checks of a network that fail before any attack: a sentence by the name of each.

    Args:
        images: a probe of some tens to hundreds.
        eps: the radius that FGSM and PGD are compared at.
        samples: how many passes the attacks' gradients are averages of. A network may be random
            where these are several.
        batch: images (N, C, H, W) in [0, 1], as many as the figures are computed of at a time;
            None for those of the probe.
    """
    with repeatable(derive(seed, 43), victim.device), victim.averaging(samples):
        return _preflight(victim, images, norm, eps, seed, batch)


def _preflight(
    victim: Victim, images: Images, norm: str, eps: float, seed: int, batch: Tensor | None
) -> dict[str, str]:
    x = images.inputs(slice(None), victim.device)
    labels = images.labels.to(victim.device)
    failed = _output_checks(victim, x, labels, x if batch is None else batch)
    if "non-finite outputs" not in failed:
        gradient, faults = _gradient_checks(victim, x, labels)
        failed |= faults
        if gradient is not None:
            failed |= _promise_checks(victim, x, labels, gradient, eps if norm == "linf" else 1.0)
            failed |= _silent_pixels(victim, x[:_PROBED], labels[:_PROBED], gradient)
            failed |= _attack_checks(victim, images, norm, eps, seed)
    return failed


def log_failed(failed: Mapping[str, str]) -> None:
    """Log a line for each check that failed."""
    for name, sentence in failed.items():
        logger.info(f"CHECK FAILED: {name}: {sentence}")


def is_random(victim: Victim, images: Tensor) -> bool:
    """Whether the same images get other logits the second time; some of them also later on, since a
    network may count its calls."""
    if not _equal(victim.logits(images), victim.logits(images)):
        return True
    return _changes(victim, images[:_FEW])


def unsteady(
    victim: Victim,
    images: Tensor,
    samples: int = 1,
    *,
    attacked: bool = True,
) -> dict[str, str]:
    """The checks of a network whose outputs for the same images are not always the same, from call
    to call or from batch to batch; empty for any other.

    Args:
        images: (N, C, H, W) in [0, 1]; as many as the figures are computed of at a time.
        samples: as of ``preflight``.
        attacked: whether the figure rests on attacks, which can average gradients.
    """
    if not is_random(victim, images):
        return _batch_check(victim, images)

    def seeded() -> bool:
        with repeatable(0, victim.device):
            first = victim.logits(images[:_FEW])
        for _ in range(_REPETITIONS):
            with repeatable(0, victim.device):
                if not _equal(victim.logits(images[:_FEW]), first):
                    return False
        return True

    if not seeded():
        return {
            "changing outputs": "the same images get other outputs from call to call, though "
            "torch's random numbers are the same: the network keeps a state or a generator of its "
            "own, and the figure depends on what it was asked before"
        }
    if samples > 1:
        return {}
    again = "the same images get other outputs the second time"
    if not attacked:
        return {"random outputs": f"{again}, and the figures are those of one draw"}
    return {
        "random outputs": f"{again}, and a gradient of one pass says little about the next; "
        "--eot 20 averages gradients over 20 passes, as the rand version of AutoAttack does"
    }


def _changes(victim: Victim, images: Tensor) -> bool:
    """Whether any of several further calls gives other logits than the first."""
    first = victim.logits(images)
    return any(not _equal(victim.logits(images), first) for _ in range(_REPETITIONS))


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether logits are the same, NaN at the same places included."""
    return torch.equal(one.nan_to_num(), other.nan_to_num()) and torch.equal(
        one.isnan(), other.isnan()
    )


def _output_checks(victim: Victim, x: Tensor, labels: Tensor, batch: Tensor) -> dict[str, str]:
    """The checks of logits that fail."""
    failed: dict[str, str] = {}
    logits = victim.logits(x)
    if not logits.isfinite().all():
        failed["non-finite outputs"] = (
            f"{int((~logits.isfinite()).any(1).sum())} of {len(x)} images get outputs that are "
            "not finite"
        )
        return failed
    failed |= unsteady(victim, batch, victim.samples) | probability_check(logits)
    return failed | chance_check(is_correct(logits, labels), logits.shape[1])


def probability_check(logits: Tensor) -> dict[str, str]:
    """The check whether outputs (N, classes) are logits, and not what a softmax or a sigmoid makes
    of them."""
    if bool((logits >= 0).all()) and torch.allclose(
        logits.sum(1), torch.ones_like(logits[:, 0]), atol=1e-4
    ):
        return {
            "softmax outputs": "outputs are probabilities, not logits: their gradient vanishes "
            "where the network is sure"
        }
    low, high = float(logits.min()), float(logits.max())
    single = logits.shape[1] == 2 and not bool(logits[:, 0].any())
    if single and logits.numel() >= _FEWEST_OUTPUTS and low >= 0 and high <= 1:
        return {
            "sigmoid outputs": "the single output lies in [0, 1] for every image, as a probability "
            "does; it is read as a logit, by which every image is of the second class: return it "
            "without the sigmoid, or accuracies are wrong"
        }
    # Logits of a network that is not sure may lie there too, but not from one end to the other.
    if logits.numel() >= _FEWEST_OUTPUTS and 0 <= low < _END and 1 - _END < high <= 1:
        return {
            "sigmoid outputs": "all outputs lie in [0, 1], from one end to the other, as those of "
            "a sigmoid and not logits: their gradient vanishes where the network is sure"
        }
    return {}


def chance_check(correct: Tensor, classes: int) -> dict[str, str]:
    """The check whether clean images are classified no worse than by guessing; where they are,
    labels and outputs may be of different orders.

    Args:
        correct: which images are classified correctly, bool (N,).
    """
    right, total, chance = int(correct.sum()), len(correct), 1 / classes
    if not below_chance(right, total, chance):
        return {}
    return {
        "below chance": f"{right:,} of {total:,} clean images are right "
        f"({100 * right / total:.1f} %), and guessing would give {100 * chance:.1f} %"
    }


def finite_outputs(clean: Tensor, attacked: Tensor) -> dict[str, str]:
    """The check, after the attacks, whether all images get finite logits; empty where they do.

    The probe of ``preflight`` holds images that are classified correctly, and logits of NaN never
    are.

    Args:
        clean: logits (N, classes) on the images as given.
        attacked: logits on the images as the attacks left them.
    """
    before, after = (int((~logits.isfinite()).any(1).sum()) for logits in (clean, attacked))
    if before:
        words = f"{before} of {len(clean)} images get outputs that are not finite"
    elif after:
        words = (
            f"{after} of {len(clean)} images get outputs that are not finite under attack, and "
            "count as broken"
        )
    return {"non-finite outputs": words} if before or after else {}


def _gradient_checks(
    victim: Victim, x: Tensor, labels: Tensor
) -> tuple[Tensor | None, dict[str, str]]:
    """The gradients, where attacks can follow them, and the checks of them that fail."""
    before = victim.gradients
    gradient, _ = victim.gradient(x, Goal(labels), "ce")
    count = victim.gradients - before
    if count.missing:
        return None, {
            "missing gradients": "the outputs do not depend on the images as far as automatic "
            "differentiation knows; attacks with gradients stand still, and only the black-box "
            "attacks count"
        }
    if count.not_finite:
        return None, {
            "non-finite gradients": f"{count.not_finite} of {len(x)} images have gradients with "
            "entries that are NaN or infinite; these entries are set to zero"
        }
    if count.zero > _ZEROS * len(x):
        return gradient, {
            "zero gradients": f"{count.zero} of {len(x)} images have no gradient at all: it is "
            "hidden, and attacks along it stand still"
        }
    return gradient, {}


def _promise_checks(
    victim: Victim, x: Tensor, labels: Tensor, gradient: Tensor, most: float
) -> dict[str, str]:
    """The check whether the loss rises along the gradient (N, C, H, W), and stays up.

    Every pixel moves by half a grey level, by one and by two, but by no more than ``most``. A fine
    wave on the input turns the gradient round within less than that: the loss hardly rises, or
    falls again. In a sound network it rises on, if less than in proportion. In a random network
    the loss changes by chance as well, so that nothing follows.
    """
    if is_random(victim, x):
        return {}
    goal, logits = Goal(labels), victim.logits(x)
    before = goal.loss(logits, "ce")
    # Of a loss of small logits, near the logarithm of their number, the last place is coarser.
    places = torch.maximum(logits.abs().amax(1), before.abs())
    resolution = _ROUNDING * torch.finfo(victim.dtype).eps * places
    before_it = 0.0  # rise at the level before, in units of what the gradient promises there
    for level in sorted({min(level, 255 * most) for level in _GREY_LEVELS}):
        moved = best_linear(x, gradient, level / 255, math.inf)
        promised = (gradient * (moved - x)).flatten(1).sum(1)
        clear = promised > resolution
        if float(clear.double().mean()) < 0.5:
            continue
        risen = goal.loss(victim.logits(moved), "ce") - before
        ratio = float((risen / promised)[clear].median())
        if ratio * level < _LOST * before_it or (before_it == 0 and ratio < _PROMISED):
            return {
                "misleading gradients": f"{level:.2g} grey levels along the gradient change the "
                f"loss by {100 * ratio:.0f} % of what it promises (median): within less, it is "
                "flat or turns round, and attacks along the gradient go astray"
            }
        before_it = ratio * level
    return {}


def _silent_pixels(victim: Victim, x: Tensor, labels: Tensor, gradient: Tensor) -> dict[str, str]:
    """The check whether the loss depends on pixels that have no gradient, where it is cut off.

    Pixels whose gradient (N, C, H, W) is next to zero in all images, and then all others, move by
    two grey levels in random directions. The mean square of a small change is that of the gradient
    of the pixels that move, so that those without one should change next to nothing. Where several
    pixels are the maximum of a window, as in an even border, the gradient goes to one of them: only
    those count which have none beside the images either.
    """
    generator, goal = torch.Generator().manual_seed(0), Goal(labels)
    silent = _silent(gradient)
    inwards = torch.where(x < 0.5, 1.0, -1.0).to(x)
    for _ in range(max(_DRAWS, _LOOKS // len(x))):
        if not bool(silent.any()) or is_random(victim, x):
            return {}
        beside = x + (_BESIDE / 255) * torch.rand(x.shape, generator=generator).to(x) * inwards
        silent &= _silent(victim.gradient(beside, goal, "ce")[0])
    if not bool(silent.any()):
        return {}
    before = goal.loss(victim.logits(x), "ce")
    changes = {True: torch.zeros_like(before), False: torch.zeros_like(before)}
    for _ in range(_DRAWS):
        signs = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
        for of_silent, change in changes.items():
            moved = x + (_GREY_LEVELS[-1] / 255) * signs * (silent == of_silent)
            change += (goal.loss(victim.logits(moved), "ce") - before).square()
    whole = changes[True] + changes[False]
    known = whole > 0
    if not bool(known.any()):
        return {}
    share = float((changes[True] / whole)[known].mean())
    if share < _HEARD:
        return {}
    return {
        "cut gradients": f"{100 * float(silent.double().mean()):.0f} % of the pixel values have no "
        f"gradient, and make {100 * share:.0f} % of the mean square by which small random changes "
        "move the loss: attacks with gradients do not know of them"
    }


def _silent(gradient: Tensor) -> Tensor:
    """Which pixels have next to no gradient in any image, bool (C, H, W)."""
    sizes = gradient.abs().mean(0)
    return sizes < _SILENT * sizes.mean()


def _attack_checks(
    victim: Victim, images: Images, norm: str, eps: float, seed: int
) -> dict[str, str]:
    """The checks of two short attacks that fail."""
    failed: dict[str, str] = {}
    steps: dict[str, Any] = {"norm": norm, "seed": seed}
    one = _robust_count(
        fgsm.perturb, victim, images, fgsm.Options(eps=[eps], eot=victim.samples, **steps)
    )
    many = _robust_count(
        pgd.perturb,
        victim,
        images,
        pgd.Options(eps=[eps], steps=20, step_schedule="constant", eot=victim.samples, **steps),
    )
    if many > one + max(1, _SURPRISING * len(images)):
        failed["FGSM beats PGD"] = (
            f"one step leaves {one} of {len(images)} images, twenty leave {many}: beyond the "
            "first, the gradient misleads"
        )
    unbounded = _robust_count(
        pgd.perturb,
        victim,
        images,
        pgd.Options(eps=[1.0], norm="linf", seed=seed, steps=40, eot=victim.samples),
    )
    if unbounded > 0:
        failed["robust without bounds"] = (
            f"{unbounded} of {len(images)} images withstand PGD that may make any image of them"
        )
    return failed


def _batch_check(victim: Victim, images: Tensor) -> dict[str, str]:
    """The check of a network that looks at more than one image at a time; empty for any other."""
    if not depends_on_batch(victim, images):
        return {}
    return {
        "batch-dependent outputs": "an image gets other outputs alone than in a batch, so that no "
        "accuracy is that of the network on single images"
    }


def depends_on_batch(victim: Victim, images: Tensor) -> bool:
    """Whether images get other logits alone than in one batch with all of them.

    Batch normalisation without running statistics does that, in evaluation mode too, and so does a
    mixture of experts that take no more than some images of a batch. The order of summation changes
    the last bits of a result with the size of the batch, so logits may differ by the square root of
    the machine's precision, relative to the largest of them. Where a network rounds within, a last
    bit may become more in single images: they count where another class is far ahead.
    """
    # From all over the batch: it may be the last ones that are left out.
    spread = torch.linspace(0, len(images) - 1, min(_ALONE, len(images))).round().long()
    together = victim.logits(images)[spread]
    alone = torch.cat([victim.logits(images[number][None]) for number in spread])
    tolerance = max(
        torch.finfo(victim.dtype).eps ** 0.5,
        _TENSOR_CORE if images.device.type == "cuda" else 0.0,
    )
    finite = together.isfinite()
    scale = together[finite].abs().amax() if bool(finite.any()) else 0.0
    difference = (alone - together).where(finite & alone.isfinite(), 0.0).abs().amax(1)
    same = (difference <= tolerance * scale) & (finite == alone.isfinite()).all(1)
    others = (alone.argmax(1) != together.argmax(1)) & (difference > _FAR * scale)
    return bool(same.double().mean() < 0.5) or bool(others.any())


def gradient_faults(counts: GradientCount, images: int) -> dict[str, str]:
    """The checks that fail where attacks got gradients that they could not use.

    Args:
        counts: the gradients of all attacks.
        images: how many were attacked.
    """
    failed: dict[str, str] = {}
    if counts.missing:
        failed["missing gradients"] = (
            f"the attacks on {images} images met {counts.missing} gradients that automatic "
            "differentiation could not compute; there they stood still"
        )
    if counts.not_finite:
        failed["non-finite gradients"] = (
            f"the attacks on {images} images met {counts.not_finite} gradients with entries that "
            "are NaN or infinite; these entries were set to zero"
        )
    return failed


def vanished_gradients(counts: GradientCount, robust: int, total: int) -> dict[str, str]:
    """The check whether gradients vanish where the attacks stood, away from the images themselves.

    It fails where more than a tenth of the gradients were zero or missing and some images
    withstood: an attack that stands still proves nothing about them. Where all images are broken,
    such gradients did no harm.

    Args:
        counts: the gradients of the network itself, of all attacks at one ε.
        robust: how many images withstood all attacks.
        total: the number of images.
    """
    still = counts.zero + counts.missing
    # Of a single image nothing is put down to coincidence.
    if robust <= min(_coincidence(total), total - 1) or still <= _ZEROS * counts.total:
        return {}
    return {
        "zero gradients": f"{100 * still / counts.total:.0f} % of the {counts.total:,} gradients "
        "that the attacks followed were zero or missing; there they stood still, and "
        f"{robust} of {total} images were not broken"
    }


def below_chance(right: int, total: int, chance: float) -> bool:
    """Whether so few correct predictions would happen to a guesser less than once in 100 times."""
    return float(bdtr(right, total, chance)) < _UNLIKELY


@dataclass(frozen=True)
class Outcome:
    """What one attack of a suite did.

    Attributes:
        attack: its name in the suite.
        knowledge: "control", "white" (with gradients of the network) or "black" (without).
        attacked: how many images were robust to all attacks before it.
        broken: how many of them it broke.
        minimum_norm: whether it looks for the smallest perturbation, and not for the largest loss.
        smoothed: whether its gradients are averages over points around the image.
    """

    attack: str
    knowledge: str
    attacked: int
    broken: int
    minimum_norm: bool = False
    smoothed: bool = False


def postflight(outcomes: Sequence[Outcome], total: int) -> dict[str, str]:
    """The checks of a result that fail, and why.

    Args:
        outcomes: of all attacks, in the order in which they ran.
        total: the number of images.
    """
    failed: dict[str, str] = {}
    withstood = {}  # by black-box attack: how many images the attacks with gradients had not broken
    robust: int | None = None
    for outcome in outcomes:
        if outcome.knowledge == "white":
            robust = outcome.attacked - outcome.broken
        elif outcome.knowledge == "black" and robust is not None:
            withstood[outcome] = robust
    strongest = max(withstood, key=lambda outcome: outcome.broken, default=None)
    if strongest and _matters(strongest.broken, withstood[strongest], total):
        failed["black-box beats white-box"] = (
            f"{strongest.attack}, without gradients, broke {strongest.broken} of the "
            f"{withstood[strongest]} images that were robust to all attacks with gradients before "
            "it"
        )
    ascents = [place for place, outcome in enumerate(outcomes) if _ascends(outcome)]
    first = min(ascents, default=len(outcomes))
    after = sorted(outcomes[first:], key=lambda outcome: outcome.broken)  # the strongest is told
    for outcome in after:
        if outcome.minimum_norm and _matters(outcome.broken, outcome.attacked, total):
            failed["minimum-norm beats gradient ascent"] = (
                f"{outcome.attack}, which looks for the smallest perturbation, broke "
                f"{outcome.broken} of the {outcome.attacked} images that were robust to gradient "
                "ascent on the loss"
            )
    for outcome in outcomes:
        if outcome.smoothed and _matters(outcome.broken, outcome.attacked, total):
            failed["smoothed gradients beat gradients"] = (
                f"{outcome.attack}, whose gradients are averages over points around the image, "
                f"broke {outcome.broken} of the {outcome.attacked} images that were robust to all "
                "attacks along the gradient itself: that leads less far than it should"
            )
    return failed


def _ascends(outcome: Outcome) -> bool:
    """Whether an attack follows the gradient of the loss itself."""
    return outcome.knowledge == "white" and not (outcome.minimum_norm or outcome.smoothed)


def _matters(broken: int, robust: int, total: int) -> bool:
    """Whether so many images were broken that it cannot be a coincidence."""
    return broken > _coincidence(total) and broken > _SURPRISING * robust


def _coincidence(total: int) -> int:
    """So few of all images prove nothing."""
    return max(1, math.floor(_NEGLIGIBLE * total))


def _robust_count(
    attack: Attack, victim: Victim, images: Images, options: fgsm.Options | pgd.Options
) -> int:
    """How many images are still classified correctly."""
    tasks = Tasks(images, torch.arange(len(images)), images.labels, targeted=False)
    (point,) = sweep(attack, victim, tasks, options)
    return int(is_correct(point.logits, images.labels).sum())
