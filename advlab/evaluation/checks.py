"""Signs that a figure for robustness is not to be believed, looked for before and after the
attacks.

After Carlini et al. 2019 (arXiv:1902.06705), section 4 and 5, and the flags of AutoAttack
(arXiv:2003.01690).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from scipy.stats import binom

from advlab.attacks import fgsm, pgd
from advlab.data.image_set import Images
from advlab.metrics.classification import is_correct
from advlab.perturbation.goal import Goal
from advlab.perturbation.sweep import Attack, Tasks, sweep
from advlab.perturbation.victim import Victim

_NEGLIGIBLE = 0.01  # of the images: less than this proves nothing
_UNLIKELY = 0.01
_ZEROS = 0.1  # of the images without any gradient


def preflight(victim: Victim, images: Images, norm: str, eps: float, seed: int) -> dict[str, str]:
    """What is wrong with a network before it is attacked: a sentence by the name of each check that
    fails.

    Args:
        images: a probe of some tens to hundreds.
        eps: the radius that FGSM and PGD are compared at.
    """
    found: dict[str, str] = {}
    x = images.inputs(slice(None), victim.device)
    logits = victim.logits(x)
    labels = images.labels.to(victim.device)
    if not logits.isfinite().all():
        found["non-finite outputs"] = (
            f"{int((~logits.isfinite()).any(1).sum())} of {len(x)} images get outputs that are "
            "not finite"
        )
        return found
    if not torch.equal(logits, victim.logits(x)):
        found["random outputs"] = (
            "the same images get other outputs the second time; attacks must average over the "
            "network's chance"
        )
    if (
        logits.shape[1] > 1
        and bool((logits >= 0).all())
        and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=1e-4)
    ):
        found["softmax outputs"] = (
            "outputs are probabilities, not logits: their gradient vanishes where the network is "
            "sure"
        )
    right = int(is_correct(logits, labels).sum())
    chance = 1 / logits.shape[1]
    if below_chance(right, len(x), chance):
        found["below chance"] = (
            f"{right} of {len(x)} clean images are right ({100 * right / len(x):.1f} %), and "
            f"guessing would give {100 * chance:.1f} %"
        )
    gradient, _ = victim.gradient(x, Goal(labels), "ce")
    if not gradient.isfinite().all():
        found["non-finite gradients"] = (
            f"{int((~gradient.isfinite()).flatten(1).any(1).sum())} of {len(x)} images have "
            "gradients that are not finite"
        )
        return found
    still = int((gradient.flatten(1).abs().amax(1) == 0).sum())
    if still > _ZEROS * len(x):
        found["zero gradients"] = (
            f"{still} of {len(x)} images have no gradient at all: it is hidden, and attacks "
            "along it stand still"
        )
    steps = {"norm": norm, "seed": seed}
    one = _left(fgsm.perturb, victim, images, fgsm.Options(eps=[eps], **steps))
    many = _left(
        pgd.perturb,
        victim,
        images,
        pgd.Options(eps=[eps], steps=20, step_schedule="constant", **steps),
    )
    if many > one + max(1, _NEGLIGIBLE * len(x)):
        found["FGSM beats PGD"] = (
            f"one step leaves {one} of {len(x)} images, twenty leave {many}: beyond the first, "
            "the gradient misleads"
        )
    unbounded = _left(
        pgd.perturb, victim, images, pgd.Options(eps=[1.0], norm="linf", seed=seed, steps=40)
    )
    if unbounded > 0:
        found["robust without bounds"] = (
            f"{unbounded} of {len(x)} images withstand PGD that may make any image of them"
        )
    return found


def below_chance(right: int, total: int, chance: float) -> bool:
    """Whether so few right answers are unlikely for one that guesses: less than 1 in 100 would give
    as few or fewer."""
    return float(binom.cdf(right, total, chance)) < _UNLIKELY


def postflight(
    fallen: Mapping[str, tuple[str, int]], white_left: int, total: int
) -> dict[str, str]:
    """What is wrong with a result.

    Args:
        fallen: by attack, how it looks at the network ("control", "white" or "black") and how many
            images fell to it, among those that no attack before it had felled.
        white_left: how many images the attacks with gradients left.
        total: all images.
    """
    black = {name: count for name, (sight, count) in fallen.items() if sight == "black"}
    worst = max(black, key=lambda name: black[name], default=None)
    found: dict[str, str] = {}
    if (
        worst is not None
        and black[worst] > max(1, math.floor(_NEGLIGIBLE * total))
        and black[worst] > 0.05 * white_left
    ):
        found["black-box beats white-box"] = (
            f"{worst}, without gradients, felled {black[worst]} of the {white_left} images that "
            "all attacks with gradients had left"
        )
    return found


def _left(
    attack: Attack, victim: Victim, images: Images, options: fgsm.Options | pgd.Options
) -> int:
    """How many images are still right."""
    tasks = Tasks(images, torch.arange(len(images)), images.labels, targeted=False)
    (point,) = sweep(attack, victim, tasks, options)
    return int(is_correct(point.logits, images.labels).sum())
