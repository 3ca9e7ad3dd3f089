"""Results of ``advlab inspect``: predictions, filters, saliency maps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from advlab.results.attack import ClassProbability, ball
from advlab.runs.results import NetworkRecord, Record, Result, not_believed


class InspectFigures(Record):
    """What every look at a network and an image reports.

    Attributes:
        image: the number of a test image, or a photo's place.
        truth: the image's true class; None where it is not known.
        predictions: the likeliest classes, in descending order.
        classes: how many the network tells apart.
        network: the network that was looked at.
        checks_failed: why they are doubted, a sentence by the name of each check.
    """

    image: str
    truth: str | None
    predictions: list[ClassProbability] = Field(min_length=1)
    classes: int
    network: NetworkRecord
    checks_failed: dict[str, str] = {}

    def doubt(self) -> str:
        """The checks that failed."""
        return not_believed(self.checks_failed)

    def summary(self) -> str:
        """The likeliest class, its probability, and the truth where it is known."""
        truth = f" (in truth {self.truth})" if self.truth is not None else ""
        return ", ".join(filter(None, [f"{self.predictions[0].text()}{truth}", self.doubt()]))


class PredictionsResult(InspectFigures, Result):
    """The likeliest classes."""

    kind: Literal["inspect-predictions"] = "inspect-predictions"


class FiltersResult(InspectFigures, Result):
    """The filters of a convolution, and their responses to the image.

    Attributes:
        layer: the convolution's name in the network.
        weight_shape: filters, input channels, height and width.
        response_shape: filters, height and width of the responses. They are the convolution's own
            output, with its bias and without what follows it.
        drawn: how many of the filters the pictures show, the first ones.
        weight_norms: L2 norm of each filter.
        response_means, response_largest: mean and largest absolute value of each filter's response.
    """

    kind: Literal["inspect-filters"] = "inspect-filters"
    layer: str
    weight_shape: tuple[int, int, int, int]
    response_shape: tuple[int, int, int]
    drawn: int
    weight_norms: list[float]
    response_means: list[float]
    response_largest: list[float]


class ClassName(Record):
    """A class, by number and name."""

    number: int
    name: str


class ExplainedImage(Record):
    """One image under explanation.

    Attributes:
        predictions: its likeliest classes, in descending order.
        explained: the class whose score the maps are of.
    """

    predictions: list[ClassProbability] = Field(min_length=1)
    explained: ClassName


class MapCorrelations(Record):
    """Pearson's correlation, in [-1, 1], of each map with the same map of the attacked image.

    It is None where one of the two maps is the same everywhere, and where there is no such map.
    """

    gradient: float | None
    smoothgrad: float | None
    grad_cam: float | None


class SaliencyResult(InspectFigures, Result):
    """Saliency maps of the image, and of the same image attacked.

    Attributes:
        layer: the layer that Grad-CAM is taken at; None for a network without a convolution.
        norm: that ε is measured in.
        eps: the radius of the attack, in pixel units at the network's own size; empty without one.
        target: the class that the attack aims at; None where it leads away from the prediction.
        clean: of the image itself.
        attacked: of the attacked image; None without an attack.
        fooled: whether the prediction changed; None without an attack.
        correlation: of the maps before and after; None without an attack.
    """

    kind: Literal["inspect-saliency"] = "inspect-saliency"
    layer: str | None
    norm: str
    eps: list[float]
    target: str | None
    clean: ExplainedImage
    attacked: ExplainedImage | None
    fooled: bool | None
    correlation: MapCorrelations | None

    def context(self) -> str:
        """The ball of the attack; empty without one."""
        return ball(self.eps[0], self.norm) if self.eps else ""

    def summary(self) -> str:
        """What the image is taken for, before and after the attack."""
        if self.attacked is None:
            return super().summary()
        before, after = self.clean.predictions[0].name, self.attacked.predictions[0].name
        return ", ".join(filter(None, [f"{before} → {after} {self.context()}", self.doubt()]))
