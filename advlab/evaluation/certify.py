"""Certification of randomised smoothing: algorithm CERTIFY of Cohen et al. (arXiv:1902.02918)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import betaincinv, ndtri  # scipy.stats takes a second to import
from torch import Tensor, nn

from advlab.config.options.smoothing import SmoothingOptions
from advlab.data.image_set import Images
from advlab.evaluation.checks import unsteady
from advlab.networks.layout import arranged, memory_format
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.progress import with_progress
from advlab.runs.machine import Machine, derive
from advlab.runs.table import percent

ABSTAIN = -1
_LOST = 0.001  # of the noisy copies: fewer without a vote change no figure
TOGETHER = 1000  # noisy copies in one pass, at most


@dataclass(frozen=True)
class Certified:
    """The predictions and certified radii of a smoothed network.

    Attributes:
        predicted: its class for each image, ABSTAIN where the vote is too close; int64 (N,).
        radius: L2 radius within which that cannot change, but for a chance of alpha; 0 where it
            abstains; (N,).
        without_vote: the fraction of all noisy copies that got no class, since their logits were
            NaN, infinite or tied.
    """

    predicted: Tensor
    radius: Tensor
    without_vote: float = 0.0

    def accuracy(self, labels: Tensor, radius: float) -> float:
        """The fraction of images classified correctly with a certified radius of at least this."""
        return float(((self.predicted == labels) & (self.radius >= radius)).double().mean())

    def curve(self, labels: Tensor) -> list[tuple[float, float]]:
        """The fraction of ``accuracy`` at radius 0 and at every radius where it falls, and 0 from
        the largest of these on."""
        right = self.radius[(self.predicted == labels) & (self.radius > 0)]
        falls = [0.0, *right.unique().tolist()]
        return [*((radius, self.accuracy(labels, radius)) for radius in falls), (falls[-1], 0.0)]

    def mean_radius(self, labels: Tensor) -> float:
        """The mean radius, that of an image that is not classified correctly being 0."""
        return float(torch.where(self.predicted == labels, self.radius, 0.0).mean())


@dataclass(frozen=True)
class Smoothing:
    """How a network is smoothed and certified.

    Attributes:
        sigma: standard deviation of the noise, in pixel units.
        select: noisy copies of an image from which its class is chosen.
        samples: noisy copies that vote on it.
        alpha: probability that a certificate is wrong.
        seed: of the noise.
    """

    sigma: float
    select: int
    samples: int
    alpha: float
    seed: int

    @classmethod
    def of(cls, options: SmoothingOptions, seed: int) -> Smoothing:
        """As the options say."""
        return cls(options.sigma, options.select, options.samples, options.alpha, seed)

    @property
    def copies(self) -> int:
        """Noisy copies of an image in all."""
        return self.select + self.samples


@dataclass(frozen=True)
class Vote:
    """What the noisy copies of one image said.

    Attributes:
        predicted, radius: as of ``Certified``.
        cast: how many copies got a class.
    """

    predicted: int
    radius: float
    cast: int


def lower_bound(votes: int, samples: int, alpha: float) -> float:
    """The one-sided Clopper-Pearson lower bound of a probability at confidence 1 - alpha."""
    return float(betaincinv(votes, samples - votes + 1, alpha)) if votes else 0.0


def largest_radius(smoothing: Smoothing) -> float:
    """The radius of an image whose copies all vote for one class: no larger one is certified by so
    many samples."""
    bound = lower_bound(smoothing.samples, smoothing.samples, smoothing.alpha)
    return smoothing.sigma * float(ndtri(bound))


def certify(
    network: nn.Module,
    images: Images,
    smoothing: Smoothing,
    machine: Machine,
    what: str = "certifying",
) -> Certified:
    """Certify images by the votes of noisy copies.

    A copy votes for the class whose logit is above all others. One whose logits are NaN, infinite
    or tied votes for none, as such an image counts as misclassified everywhere.

    Args:
        network: in evaluation mode, on the machine's device; from images to logits (N, classes).
        what: stands before the progress.
    """
    votes = [
        certify_image(network, images, image, smoothing, machine)
        for image in with_progress(range(len(images)), what, "images")
    ]
    return gathered(votes, smoothing)


def certify_image(
    network: nn.Module, images: Images, number: int, smoothing: Smoothing, machine: Machine
) -> Vote:
    """Certify the image of that number, from which its noise is drawn."""
    random = ImageRandom(derive(smoothing.seed, 4), torch.tensor([number]))
    x = images.inputs(slice(number, number + 1), machine.device)
    classes = _votes(network, x, smoothing.sigma, smoothing.select, random, machine)
    top = int(classes.argmax())
    counts = _votes(network, x, smoothing.sigma, smoothing.samples, random, machine)
    cast = int(classes.sum()) + int(counts.sum())
    probability = lower_bound(int(counts[top]), smoothing.samples, smoothing.alpha)
    if probability > 0.5:
        return Vote(top, smoothing.sigma * float(ndtri(probability)), cast)
    return Vote(ABSTAIN, 0.0, cast)


def gathered(votes: Sequence[Vote], smoothing: Smoothing) -> Certified:
    """What was found of several images, in their order."""
    copies = len(votes) * smoothing.copies
    return Certified(
        torch.tensor([vote.predicted for vote in votes]),
        torch.tensor([vote.radius for vote in votes], dtype=torch.float64),
        (copies - sum(vote.cast for vote in votes)) / copies,
    )


def vote_checks(victim: Victim, images: Images, smoothing: Smoothing) -> dict[str, str]:
    """The checks of a network whose votes depend on more than the noisy copy, a sentence by name:
    copies of the first image are compared alone and in a batch as large as those that vote."""
    count = min(smoothing.samples, TOGETHER)
    noise = torch.randn(
        (count, *images.pixels.shape[1:]), generator=torch.Generator().manual_seed(0)
    )
    copies = images.inputs(slice(0, 1), victim.device) + smoothing.sigma * noise.to(victim.device)
    return unsteady(victim, copies, attacked=False)


def lost_votes(without_vote: float) -> dict[str, str]:
    """The check whether the noisy copies get a class at all; empty where nearly all do.

    The certificates hold all the same, as such a copy counts against them.
    """
    if without_vote <= _LOST:
        return {}
    return {
        "lost votes": f"{percent(without_vote)} of the noisy copies got logits that are NaN, "
        "infinite or tied, and vote for no class"
    }


@torch.inference_mode()
def _votes(
    network: nn.Module,
    image: Tensor,
    sigma: float,
    samples: int,
    random: ImageRandom,
    machine: Machine,
) -> Tensor:
    """Counts of predicted classes among noisy copies of one image (1, C, H, W)."""
    counts: Tensor | None = None
    layout = memory_format(network)
    for start in range(0, samples, TOGETHER):
        count = min(TOGETHER, samples - start)
        noise = (
            random.normal((count, *image.shape[1:])).view(count, *image.shape[1:]).to(image.device)
        )
        with machine.autocast():
            logits = network(arranged(image + sigma * noise, layout))
        first, second = logits.float().topk(2, dim=1).values.T
        clear = (first > second) & first.isfinite() & ~logits.isnan().any(1)
        won = torch.bincount(logits.argmax(1)[clear], minlength=logits.shape[1]).cpu()
        counts = won if counts is None else counts + won
    assert counts is not None
    return counts
