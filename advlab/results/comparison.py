"""Results of comparisons of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from advlab.runs.results import Headline, Record, Result


class ComparedRun(Record):
    """One run of a grid: its seed, its folder, and its value of the figure that is compared."""

    seed: int
    folder: str
    value: float


class Setting(Record):
    """The runs of one setting.

    Attributes:
        mean, std: of the figure; the sample standard deviation, None for a single run.
        chosen_mean: mean of the figure that settings are chosen by; None where there is none beside
            the one that is compared, and in results of earlier versions.
    """

    setting: str
    mean: float
    std: float | None
    runs: list[ComparedRun] = Field(min_length=1)
    chosen_mean: float | None = None


class PairedTest(Record):
    """McNemar's exact test of two networks on the same images.

    Attributes:
        first_only: number of images that only the first network has right.
        second_only: number of images that only the second network has right.
        p_value: two-sided, in (0, 1]; not adjusted for the number of tests.
    """

    first_only: int = Field(ge=0)
    second_only: int = Field(ge=0)
    p_value: float = Field(gt=0, le=1)


class PairedRuns(Record):
    """Runs of two settings with the same seed, compared image by image.

    Attributes:
        first, second: the settings.
        seed: of both runs.
        difference: accuracy of the second minus that of the first, as fractions.
        test: on how many images they differ.
        adjusted_p_value: that of the test, adjusted by Holm's method for all pairs of the
            comparison, in (0, 1]; None in results of earlier versions.
    """

    first: str
    second: str
    seed: int
    difference: float
    test: PairedTest
    adjusted_p_value: float | None = Field(default=None, gt=0, le=1)


Part = Literal["validation", "test"]


class JointMember(Record):
    """A network of an ensemble beside it.

    Attributes:
        run: its folder.
        accuracy: on the same examples, a fraction.
        test: of this network, the first, and the ensemble, the second.
    """

    run: str
    accuracy: float
    test: PairedTest


class JointAccuracy(Record):
    """The mean of the probabilities of several networks, on one part of their data.

    Attributes:
        part: of the data.
        accuracy: of the ensemble, a fraction.
        examples: of that part.
        members: in the order in which the runs were named.
    """

    part: Part
    accuracy: float
    examples: int = Field(ge=1)
    members: list[JointMember] = Field(min_length=2)


Difference = Literal["data", "examples", "conditions"]
_UNLIKE = {
    "data": "on different data",
    "examples": "on different examples",
    "conditions": "under different conditions",
}


def unlike(differ: Sequence[Difference]) -> str:
    """How figures were measured that do not compare, in words; empty where they compare."""
    return " and ".join(_UNLIKE[one] for one in differ)


class PrunedRun(Record):
    """A run that a search ended early.

    Attributes:
        epoch: the last one that was trained.
        value: the best figure of its epochs, of the kind that the settings are chosen by. It is
            that of a network trained by half.
    """

    setting: str
    seed: int
    epoch: int = Field(ge=1)
    value: float


class ComparisonResult(Result):
    """Several settings beside each other.

    Attributes:
        figure: the field of each run's result that is compared.
        figure_words: its name for people.
        fraction: whether it is a fraction, shown in percent.
        lower_is_better: whether the lower value is the better one, or the stronger attack.
        chosen_words: the figure that settings are chosen by, for people: one of validation data,
            so that no test data select; empty where the runs have none beside the one that is
            compared.
        chosen_lower_is_better: whether the lower value of it is the better one.
        holds_for: what the figure holds for, such as the norm and ε of an attack; empty where
            nothing is to be added.
        settings: in the order of the plan.
        threat_models: what the attacks might do, each kind once, such as ``L∞ ball``; the figures
            do not compare where there are several. Empty in results of earlier versions, and where
            nothing is attacked.
        differ: what the runs do not share, so that their figures do not compare and no setting is
            the best one; empty in results of earlier versions, and where different conditions are
            all that is compared.
        doubted: settings with a run against whose figure something speaks, such as a failed check;
            empty in results of earlier versions.
        same_target: whether all runs attacked one network, on the same images and in the same ball,
            so that the strongest attack can be named; False in results of earlier versions.
        pairs: of settings whose networks were measured on the same images in the same way; empty
            where there are none, and in results of earlier versions.
        ensemble: the networks judged together, on validation and on test data; empty where that was
            not asked for, and in results of earlier versions.
        test_accuracy: headline on test data, a fraction, of the setting that a search chose;
            None for other comparisons, and where the figure chosen by is the headline itself.
        test_words: its name for people, with what it holds for.
        sampler: of a search that keeps a study, how its settings were drawn; None for all others.
        pruner: of such a search, which of its trainings were ended early.
        pruned: those that were; none of them is among the settings.
    """

    kind: Literal["comparison"] = "comparison"
    figure: str
    figure_words: str
    fraction: bool
    lower_is_better: bool
    chosen_words: str = ""
    chosen_lower_is_better: bool = False
    holds_for: str = ""
    settings: list[Setting] = Field(min_length=1)
    threat_models: list[str] = []
    differ: list[Difference] = []
    doubted: list[str] = []
    same_target: bool = False
    pairs: list[PairedRuns] = []
    ensemble: list[JointAccuracy] = []
    test_accuracy: float | None = None
    test_words: str = "test accuracy"
    sampler: Literal["random", "tpe"] | None = None
    pruner: Literal["none", "median"] | None = None
    pruned: list[PrunedRun] = []

    def _chosen(self) -> Setting | None:
        """The setting that is the best one by another figure than the one that is compared; None
        where there is no such figure."""
        sign = -1 if self.chosen_lower_is_better else 1
        values = {one.setting: one.chosen_mean for one in self.settings}
        known = {name: sign * value for name, value in values.items() if value is not None}
        if not self.chosen_words or len(known) < len(self.settings):
            return None
        return max(self.settings, key=lambda one: known[one.setting])

    def doubt(self) -> str:
        """Of which settings a figure is doubted."""
        return f"DOUBTED: {', '.join(self.doubted)}" if self.doubted else ""

    def summary(self) -> str:
        """The figure of the best setting; where the figures do not compare, the lowest and highest.
        What is doubted is named."""
        return "; ".join(filter(None, [self._best(), self.doubt()]))

    def _best(self) -> str:
        headline = Headline(self.figure, self.figure_words, self.fraction, self.lower_is_better)
        sign = -1 if self.lower_is_better else 1
        best = self._chosen() or max(self.settings, key=lambda setting: sign * setting.mean)
        if len(self.threat_models) > 1 or self.differ:
            means = [setting.mean for setting in self.settings]
            ends = " to ".join(dict.fromkeys(map(headline.text, (min(means), max(means)))))
            apart = unlike(self.differ)
            if len(self.threat_models) > 1:
                apart = f"under {' and '.join(self.threat_models)}"
            return headline.sentence(ends, ", ".join(filter(None, [self.holds_for, apart])))
        values = [run.value for run in best.runs]
        figure = headline.sentence(headline.spread(values), self.holds_for)
        if len(self.settings) == 1:
            return f"{figure}, mean of {len(best.runs)} runs"
        alike = [setting.setting for setting in self.settings if setting.mean == best.mean]
        if len(alike) == len(self.settings) > 1:
            every = "both" if len(alike) == 2 else f"all {len(alike)}"
            return f"{figure}, the same in {every} settings"
        if self._chosen() is not None:
            by = f"the best {self.chosen_words} of {len(self.settings)} settings"
            return f"{figure}, with {by} ({best.setting})"
        extreme = "lowest" if self.lower_is_better else "highest"
        of = f"{figure}, {extreme} of {len(self.settings)} settings"
        if self.same_target and self.lower_is_better and len(alike) == 1:
            return f"{of}: {best.setting} is the strongest attack"
        if self.test_accuracy is not None:
            test = headline.text(self.test_accuracy)
            return f"{of} of a search ({alike[0]}), whose {self.test_words} is {test}"
        return f"{of} ({' and '.join(alike)})"
