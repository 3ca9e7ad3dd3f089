"""Results of ``advlab defend``."""

from __future__ import annotations

from typing import ClassVar, Literal

from advlab.results.attack import ball
from advlab.results.comparison import PairedTest
from advlab.results.smoothing import AVERAGE_RADIUS, smoothed, votes
from advlab.results.train import TrainedFigures
from advlab.runs.results import (
    CertifiedNetwork,
    Examples,
    Headline,
    NetworkRecord,
    Record,
    Result,
    images_from,
    not_believed,
)
from advlab.runs.table import counted


class Comparison(Record):
    """Accuracy of both networks, a fraction, in each situation: ``clean``, ``FGSM``, ``PGD`` and
    the like."""

    undefended: dict[str, float]
    defended: dict[str, float]


class CertifiedPoint(Record):
    """Certified accuracy, a fraction, of both networks at an L2 radius in pixel units."""

    radius: float
    undefended: float
    defended: float


class Abstentions(Record):
    """How many images each smoothed network gave no answer to."""

    undefended: int
    defended: int


class MeanRadii(Record):
    """Mean certified radius of both networks, L2 in pixel units; an image that is misclassified or
    gets no answer counts as 0 (the average certified radius of Zhai et al., arXiv:2001.02378)."""

    undefended: float
    defended: float


class Certificates(Record):
    """Certified accuracy of both networks, smoothed by the same noise.

    Attributes:
        sigma: standard deviation of the noise, in pixel units.
        alpha: probability that a certificate is wrong, per image.
        samples: noisy copies of each image that bound the certificate.
        images: how many were certified.
        points: at some radii.
        mean_radius: over all these images; None in results of earlier versions.
        checks_failed: why the figures are doubted, a sentence by the name of each check.
        whole: whether they are all of the first ones; False in results of earlier versions.
        first: how many test images they were drawn from, the first ones; None for all of them.
    """

    sigma: float
    alpha: float
    samples: int
    images: int
    abstained: Abstentions
    points: list[CertifiedPoint]
    mean_radius: MeanRadii | None = None
    checks_failed: dict[str, str] = {}
    whole: bool = False
    first: int | None = None


class VerifiedPoint(Record):
    """Accuracies, fractions, of both networks at an L∞ radius.

    Attributes:
        eps: in pixel units.
        undefended, defended: verified accuracy, a lower bound of robust accuracy.
        undefended_pgd, defended_pgd: accuracy under PGD, an upper bound of it.
    """

    eps: float
    undefended: float
    defended: float
    undefended_pgd: float
    defended_pgd: float


class Verification(Record):
    """What interval bounds verify of both networks.

    Attributes:
        images: how many test images were verified.
        verified_accuracy: of the defended network at the radius of the defence: the fraction of
            images that no image within it can have misclassified.
        points: at several radii.
    """

    images: int
    verified_accuracy: float
    points: list[VerifiedPoint]


class SuiteVerdict(Record):
    """The verdict of ``advlab evaluate`` on the defended network, on the same test images.

    Attributes:
        suite: of attacks.
        clean_accuracy, robust_accuracy: fractions; robust accuracy is an upper bound.
        believable: whether no check failed.
        checks_failed: why the figure is not to be believed, a sentence by the name of each check.
        attacks: that were run, in their order.
        folder: of the evaluation, with ``verdict.json``.
    """

    suite: str
    clean_accuracy: float
    robust_accuracy: float
    believable: bool
    checks_failed: dict[str, str]
    attacks: list[str]
    folder: str

    def words(self) -> str:
        """The suite, and the checks that failed."""
        doubt = "" if self.believable else f", NOT TO BE BELIEVED ({', '.join(self.checks_failed)})"
        return f"verdict of the {self.suite} suite{doubt}"


class DefendResult(Result):
    """A network trained or filtered by a defence, beside the same network without it.

    Attributes:
        norm: of the attacks that both are compared under.
        eps: their radius, in pixel units, as a list of one.
        clean_accuracy: of the defended network, a fraction.
        robust_accuracy: of the defended network under the attack that leaves least of it.
        accuracies: of both networks in every situation.
        images: how many test images they were compared on.
        classes: how many there are.
        undefended: the network without the defence.
        checkpoint, checkpoint_sha256: the defended network's file.
        training: what training it gave; None for a filter, which trains nothing.
        val_fgsm_accuracy, val_robust_accuracy: of the kept epoch, where they were watched.
        stopped: why training ended early; None where it did not.
        filters: input filters in front of the network, by name and strength.
        certified: certificates of randomised smoothing; None for other defences.
        verified: what interval bounds verify; None for other defences than ``ibp``.
        val_verified_accuracy: of the kept epoch, where it was watched.
        val_mean_radius: estimated on validation images at the kept epoch, L2 in pixel units, where
            it was watched.
        verdict: of a suite of attacks on the defended network; None where none was asked for. This
            is the robust accuracy to cite; ``robust_accuracy`` is that under FGSM and PGD alone.
        paired: McNemar's test of the undefended network (first) and the defended one (second) in
            every situation of both, and in ``strongest attack``, where each is under the attack
            that leaves least of it; empty in results of earlier versions.
        majority_accuracy: of always the class that most of the images are of; None in results of
            earlier versions.
    """

    headline: ClassVar[Headline] = Headline("robust_accuracy", "robust accuracy", over="images")

    kind: Literal["defend"] = "defend"
    norm: str
    eps: list[float]
    clean_accuracy: float
    robust_accuracy: float
    accuracies: Comparison
    images: int
    classes: int
    undefended: NetworkRecord
    checkpoint: str
    checkpoint_sha256: str
    training: TrainedFigures | None = None
    val_fgsm_accuracy: float | None = None
    val_robust_accuracy: float | None = None
    stopped: str | None = None
    filters: dict[str, int] = {}
    certified: Certificates | None = None
    verified: Verification | None = None
    val_verified_accuracy: float | None = None
    val_mean_radius: float | None = None
    verdict: SuiteVerdict | None = None
    paired: dict[str, PairedTest] = {}
    majority_accuracy: float | None = None

    def chosen_by(self) -> Headline | None:
        """Verified or robust accuracy or the average radius on validation images; None where none
        was watched."""
        where = ball(self.eps[-1], self.norm)
        if self.val_verified_accuracy is not None:
            return Headline("val_verified_accuracy", f"verified validation accuracy {where}")
        if self.val_robust_accuracy is not None:
            return Headline("val_robust_accuracy", f"validation accuracy under PGD {where}")
        if self.val_mean_radius is not None:
            words = "estimated average radius of validation images"
            return Headline("val_mean_radius", words, fraction=False)
        return None

    def headline_of(self) -> Headline:
        """The average certified radius where smoothing certified one: accuracy under attack is of
        the network without the noise that it is used with."""
        if self.certified is None or self.certified.mean_radius is None:
            return self.headline
        return Headline("certified.mean_radius.defended", AVERAGE_RADIUS, fraction=False)

    def about(self, figure: Headline) -> DefendResult:
        """Without certificates, where the figure is accuracy under attack: that is of the network
        without noise, on other images."""
        own = self.certified is None or figure.field == self.headline_of().field
        return self if own else self.model_copy(update={"certified": None})

    def context(self) -> str:
        """The ball that the headline holds for, or the noise of the smoothed network."""
        if (radii := self._radii()) is not None:
            return smoothed(radii.sigma, radii.samples, radii.alpha)
        return f"under FGSM and PGD {ball(self.eps[-1], self.norm)}"

    def compared_under(self) -> str:
        """The ball, or how much a certificate rests on; which noise is best is what comparisons are
        about."""
        radii = self._radii()
        return self.context() if radii is None else votes(radii.samples, radii.alpha)

    def doubt(self) -> str:
        """The checks of the certificates that failed, where these are what the headline is of."""
        radii = self._radii()
        return "" if radii is None else not_believed(radii.checks_failed)

    def _radii(self) -> Certificates | None:
        """The certificates that the headline is of."""
        return None if self.headline_of() is self.headline else self.certified

    def certified_network(self) -> CertifiedNetwork | None:
        """What smoothing certified of the defended network."""
        certified = self.certified
        if certified is None or certified.mean_radius is None:
            return None
        return CertifiedNetwork(
            certified.mean_radius.defended,
            certified.points[0].defended,
            None,
            certified.sigma,
            certified.abstained.defended,
            certified.images,
        )

    def measured_on(self) -> Examples:
        """The images that the headline is of: those that were certified, or that the two networks
        were compared on."""
        if (radii := self._radii()) is not None:
            if radii.whole:
                return images_from(0, radii.images)
            some = "" if radii.first is None else f" over the first {radii.first}"
            over = some or " over the test set"
            words = f"{counted(radii.images, 'image')}, evenly spread{over}"
            return Examples(words, f"{radii.images} images evenly spread{some}")
        return self.attacked_on()

    def attacked_on(self) -> Examples:
        """The images that the two networks were attacked on."""
        return images_from(0, self.images)
