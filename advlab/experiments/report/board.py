"""Robustness: a table for each data set and threat model, the rows of one network together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from advlab.config.radii import eps_text, norm_name
from advlab.experiments.report.gather import Run
from advlab.experiments.report.seeds import Repeated, repeated
from advlab.results.attack import AttackResult
from advlab.results.defend import DefendResult
from advlab.results.evaluate import EvaluateResult
from advlab.runs.results import Examples, NetworkRecord, Result
from advlab.runs.table import counted

RobustnessResult = (AttackResult, EvaluateResult, DefendResult)

_SUITE, _ATTACKS, _DOUBTFUL = range(3)  # evidence, the best first
_UNDEFENDED = ", undefended"


@dataclass(frozen=True)
class Row:
    """What one setting found of one network at one ε.

    Attributes:
        network: the network in words.
        hashes: of the network; of several, one for each seed.
        trained_by: the run that trained it, where it is on the page.
        clean: accuracy of the unattacked images, with its spread.
        robust: robust accuracy, with its spread.
        clean_mean, robust_mean: the same as numbers in [0, 1], to sort by.
        attacks: what was run.
        settings: options of the run that differ from their defaults, in words.
        images: how many images were attacked.
        examples: which images these are.
        seeds: the seeds.
        doubts: why the figure is not to be believed; empty where nothing speaks against it.
        evidence: how much was tried, the least number for the most.
        runs: the runs that the row is of.
        copies: further runs with the same result.
        weaker_than: what brought the same network to a lower accuracy on the same images; empty
            where nothing did.
    """

    network: str
    hashes: frozenset[str]
    trained_by: Run | None
    clean: str
    robust: str
    clean_mean: float
    robust_mean: float
    attacks: str
    images: int
    examples: Examples
    seeds: Sequence[int]
    doubts: Sequence[str]
    evidence: int
    runs: Sequence[Run]
    copies: Sequence[Run]
    settings: str = ""
    weaker_than: str = ""


@dataclass(frozen=True)
class Board:
    """All rows of a data set and threat model.

    Attributes:
        dataset: its name; with the beginning of its hash where several data have the same name.
        threat: norm and ε.
        rows: networks in order, each with its lowest robust accuracy on the same images first.
    """

    dataset: str
    threat: str
    rows: Sequence[Row]


def boards(everything: Sequence[Run]) -> list[Board]:
    """The tables, by data set, norm and ε."""
    trained = {
        str(getattr(run.result, "checkpoint_sha256", "")): run
        for run in everything
        if isinstance(run.result, Result) and hasattr(run.result, "checkpoint_sha256")
    }
    rows: dict[tuple[str, str, str, float], list[Row]] = {}
    for kind in RobustnessResult:
        runs = [(run, run.result) for run in everything if isinstance(run.result, kind)]
        for group in repeated(runs, everything):
            for eps, row in _rows(group, trained):
                result = group.first
                key = (result.dataset, result.data_sha256 or "", result.norm, eps)
                rows.setdefault(key, []).append(row)
    names = {(dataset, data) for dataset, data, _, _ in rows}
    return [
        Board(
            _dataset(dataset, data, names),
            f"{norm_name(norm)}, ε = {eps_text(eps)}",
            _in_order(_once(rows[dataset, data, norm, eps])),
        )
        for dataset, data, norm, eps in sorted(rows)
    ]


def _dataset(name: str, digest: str, names: Iterable[tuple[str, str]]) -> str:
    """The data set's name, and which of several it is."""
    several = sum(other == name for other, _ in names) > 1
    return f"{name} ({digest[:12] or 'unknown data'})" if several else name


def _rows(group: Repeated[Any], trained: Mapping[str, Run]) -> list[tuple[float, Row]]:
    result = group.first
    if isinstance(result, DefendResult):
        return _defended(group, trained)
    if isinstance(result, EvaluateResult):
        return _evaluated(group, trained)
    return _attacked(group, trained)


def _attacked(group: Repeated[AttackResult], trained: Mapping[str, Run]) -> list[tuple[float, Row]]:
    result = group.first
    attack = result.component
    if result.shared is not None:
        attack += ", one perturbation for all images"
    if result.target is not None:
        attack += f", targeted at {result.target}"
    if result.surrogate is not None:
        attack += f", images made on {result.surrogate.model}"
    selected = [number for number, point in enumerate(result.points) if point.eps > 0] or [0]
    rows = []
    for number in selected:
        stuck = sum(one.points[number].unusable_gradients for _, one in group.runs)
        doubts = (
            [f"unusable gradients: {stuck:,} times an image had none, and the attack stood still"]
            if stuck
            else []
        )
        failed = {name: text for _, one in group.runs for name, text in one.checks_failed.items()}
        doubts += [
            f"{name}: {text}" for name, text in failed.items() if name != "unusable gradients"
        ]
        row = _row(
            group,
            [one.network for _, one in group.runs],
            trained,
            robust=_at(number),
            attacks=attack,
            doubts=doubts,
        )
        rows.append((result.points[number].eps, row))
    return rows


def _evaluated(
    group: Repeated[EvaluateResult], trained: Mapping[str, Run]
) -> list[tuple[float, Row]]:
    result = group.first
    doubts = {
        f"{name}: {why}": None
        for _, one in group.runs
        for name, why in (one.checks_failed or ({} if one.believable else {"checks": ""})).items()
    }
    rows = []
    for number, point in enumerate(result.points):
        names = [
            f"{entry.attack} (nearest images alone)"
            if entry.attacked and entry.on_fewer(result.images)
            else entry.attack
            for entry in result.attacks
            if entry.eps == point.eps and not entry.left_alone(result.images)
        ]
        left_out = f"; left out: {', '.join(result.left_out)}" if result.left_out else ""
        row = _row(
            group,
            [one.network for _, one in group.runs],
            trained,
            robust=_at(number),
            attacks=f"suite {result.component}: {', '.join(names)}{left_out}",
            doubts=list(doubts),
        )
        rows.append((point.eps, replace(row, evidence=_DOUBTFUL if doubts else _SUITE)))
    return rows


def _at(number: int) -> Callable[[Any], float]:
    """The robust accuracy of a result at one of its radii, by its place among them."""

    def value(result: Any) -> float:
        return float(result.points[number].robust_accuracy)

    return value


def _defended(group: Repeated[DefendResult], trained: Mapping[str, Run]) -> list[tuple[float, Row]]:
    """The defended network and, on the same images under the same attacks, the undefended one."""
    result = group.first
    attacks = ", ".join(name for name in result.accuracies.defended if name != "clean")
    defended = [
        NetworkRecord(model=one.model or "network", sha256=one.checkpoint_sha256)
        for _, one in group.runs
    ]
    row = _row(
        group,
        defended,
        trained if not result.filters else {},
        robust=lambda one: one.robust_accuracy,
        attacks=attacks,
        doubts=[],
    )
    filters = ", ".join(f"{name} {strength}" for name, strength in result.filters.items())
    how = f"{row.network}, defended by {result.component} ({filters})" if filters else row.network
    if result.certified is not None:
        how += ", without the noise that it is certified with"
    undefended = _row(
        group,
        [one.undefended for _, one in group.runs],
        trained,
        clean=lambda one: one.accuracies.undefended["clean"],
        robust=lambda one: min(
            value for name, value in one.accuracies.undefended.items() if name != "clean"
        ),
        attacks=", ".join(name for name in result.accuracies.undefended if name != "clean"),
        doubts=[],
    )
    # A filter stands in front of the same file, and is another network all the same.
    own = frozenset(f"{digest} {how}" if result.filters else digest for digest in row.hashes)
    beside = replace(undefended, network=undefended.network + _UNDEFENDED)
    return [
        (result.eps[-1], replace(row, network=how, hashes=own)),
        (result.eps[-1], beside),
    ]


def _row(
    group: Repeated[Any],
    networks: Sequence[NetworkRecord],
    trained: Mapping[str, Run],
    *,
    robust: Callable[[Any], float],
    attacks: str,
    doubts: Sequence[str],
    clean: Callable[[Any], float] = lambda one: one.clean_accuracy,
) -> Row:
    files = {network.sha256 for network in networks}
    hashes = frozenset(
        _with_code(network, run) for network, (run, _) in zip(networks, group.runs, strict=True)
    )
    one_for_each = f", {len(hashes)} networks, one for each seed" if len(hashes) > 1 else ""
    trainings = [trained[network.sha256] for network in networks if network.sha256 in trained]
    defences = {
        f", defended by {run.result.component}"
        for run in trainings
        if isinstance(run.result, DefendResult) and not run.result.filters
    }
    defended = defences.pop() if len(defences) == 1 and len(trainings) == len(networks) else ""
    clean_values, robust_values = group.values(clean), group.values(robust)
    return Row(
        network=networks[0].model + defended + one_for_each,
        hashes=hashes,
        trained_by=trained.get(next(iter(files))) if len(files) == 1 else None,
        clean=group.spread(clean),
        robust=group.spread(robust),
        clean_mean=sum(clean_values) / len(clean_values),
        robust_mean=sum(robust_values) / len(robust_values),
        attacks=attacks,
        images=group.first.images,
        examples=_attacked_on(group.first),
        seeds=group.seeds,
        doubts=doubts,
        evidence=_DOUBTFUL if doubts else _ATTACKS,
        runs=[run for run, _ in group.runs],
        copies=group.copies,
        settings=group.runs[0][0].settings,
    )


def _attacked_on(result: Result) -> Examples:
    """The images that robust accuracy is of; the headline of a smoothed network is of others."""
    return result.attacked_on() if isinstance(result, DefendResult) else result.measured_on()


def _with_code(network: NetworkRecord, run: Run) -> str:
    """The hash of a network; of one of the user's own code, that of the code as well, since the
    same weights make another network in other code."""
    code = None if run.identity is None else dict(run.identity.contents).get("network code")
    return f"{network.sha256} {code}" if code else network.sha256


def _once(rows: Sequence[Row]) -> list[Row]:
    """The rows, those of an undefended network once: every defence of it measured the same.

    The settings of such a row are those of the defences, so that rows which differ in them alone
    become one.
    """
    unique: dict[object, Row] = {}
    for number, row in enumerate(rows):
        same: object = number
        if row.network.endswith(_UNDEFENDED):
            same = (row.hashes, row.clean, row.robust, row.attacks, row.images, tuple(row.seeds))
        if same in unique:
            first = unique[same]
            copies = [*first.copies, *row.runs, *row.copies]
            unique[same] = replace(first, copies=copies, settings="")
        else:
            unique[same] = row
    return list(unique.values())


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """Networks by the best evidence, then by the lowest accuracy that anything left of them, the
    most robust first; a network's rows by ascending accuracy.

    A network is ranked by one set of images: that of its best evidence, the largest of several.
    Its other rows follow, those on the same images together.
    """
    networks: dict[frozenset[str], list[Row]] = {}
    for row in rows:
        networks.setdefault(row.hashes, []).append(row)
    ranked = sorted(
        (_on_same_images(own) for own in networks.values()),
        key=lambda sets: (
            min(row.evidence for row in sets[0]),
            -min(row.robust_mean for row in sets[0]),
            sets[0][0].network,
        ),
    )
    return [row for sets in ranked for own in sets for row in _marked(own)]


def _on_same_images(own: Sequence[Row]) -> list[list[Row]]:
    """The rows of one network, those on the same images together; the images that it is ranked by
    come first. A row whose images are not known is alone."""
    sets: dict[object, list[Row]] = {}
    for number, row in enumerate(own):
        which = row.examples.which
        sets.setdefault(number if which is None else which, []).append(row)
    return sorted(
        sets.values(),
        key=lambda rows: (min(row.evidence for row in rows), -rows[0].images),
    )


def _marked(own: Sequence[Row]) -> list[Row]:
    """The rows of one network on the same images, each with the row of a stronger attack, if
    any."""
    first, *others = sorted(own, key=lambda row: (row.robust_mean, row.evidence))
    images = counted(first.images, "image")
    strongest = f"{first.attacks.split(':')[0]}: {first.robust} of {images}"
    return [
        first,
        *(
            replace(row, weaker_than=strongest) if row.robust_mean > first.robust_mean else row
            for row in others
        ),
    ]
