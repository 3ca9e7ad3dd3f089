"""``advlab attack`` on texts of a data set."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from advlab.components import display_name, load_component
from advlab.config.options.text_attack import TextAttackOptions
from advlab.config.references import dataset_title
from advlab.config.resolve import Config
from advlab.data.subwords import Subwords
from advlab.data.text_set import TextSet
from advlab.data.words import tokens
from advlab.errors import UsageError
from advlab.evaluation.checks import log_failed
from advlab.experiments.attack import text_examples
from advlab.experiments.attack.text_target import (
    Similarity,
    similarity_of,
    target_and_texts,
)
from advlab.experiments.trained_on import seen_in_training
from advlab.experiments.trained_text_classifier import TextTarget
from advlab.logs import logger
from advlab.metrics import smallest
from advlab.metrics.intervals import with_interval
from advlab.metrics.texts import edit_distance
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.text_search import TextTask, most_changes
from advlab.perturbation.text_victim import TextVictim, is_broken, margin
from advlab.plots.robustness import accuracy_against_words
from advlab.plots.style import save
from advlab.progress import progress_bar
from advlab.results.attack import TextAttackResult
from advlab.runs import sealed
from advlab.runs.files import write_text
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.results import Finished
from advlab.runs.table import counted, percent, table

FILE = "texts.jsonl"
_STATE = "resume-texts.pt"
_EVERY = 50  # attacked texts between two writings of the state


@dataclass(frozen=True)
class Outcome:
    """What became of one text.

    Attributes:
        number: of the test text.
        label: true class.
        before, after: predicted classes; the same where the text was not attacked.
        probability_before, probability_after: of these classes.
        broken: whether it was classified correctly and no longer is.
        wrong: whether it was misclassified without an attack.
        original, perturbed: the words that the network reads, separated by spaces.
        words: how many these are.
        changed: how many of them were changed.
        edit_distance: in letters.
        similarity: of the two texts; None without word vectors.
        queries: how many texts the network was asked about.
    """

    number: int
    label: int
    before: int
    after: int
    probability_before: float
    probability_after: float
    broken: bool
    wrong: bool
    original: str
    perturbed: str
    words: int
    changed: int
    edit_distance: int
    similarity: float | None
    queries: int


def run(config: Config) -> Finished[TextAttackResult]:
    """Attack one network on texts, unless the run is there already.

    Raises:
        UsageError: network, data and vectors do not fit each other.
    """
    options: TextAttackOptions = config.options
    target, data = target_and_texts(options)
    if isinstance(target.vocabulary, Subwords) and not options.takes_subwords:
        raise UsageError(
            f"{config.component}: replaces words by entries of the vocabulary, and "
            f"{target.file} reads subwords; deepwordbug changes letters, and attacks it"
        )
    similarity = similarity_of(options, target)
    if similarity.space is None and config.component == "word_swap":
        raise UsageError(
            f"word_swap: {target.metadata.model} has no word embeddings, so no word is similar to "
            "another; --vectors FILE gives word vectors, or the run of a network such as textcnn"
        )
    settled = target.settled(config.changed(dataset=data.name))
    experiment = Experiment(
        config=settled,
        contents={"data": data.sha256(), "network": target.sha256, **similarity.contents},
        result=TextAttackResult,
        measure=lambda folder: _measure(settled, target, similarity, data, folder),
        report=_report,
    )
    return carry_out(experiment)


def _measure(
    config: Config,
    target: TextTarget,
    similarity: Similarity,
    data: TextSet,
    folder: Path,
) -> TextAttackResult:
    options: TextAttackOptions = config.options
    machine = prepare(options, "fp32")
    victim = TextVictim(target.network, target.vocabulary, machine.device, similarity.space)
    numbers = _chosen(options, data)
    logger.info(
        f"{config.component} on {target.label}, {len(numbers):,} texts of {data.name}, "
        f"at most {100 * options.max_perturbed:g} % of the words of each; "
        f"fp32 on {machine.device}"
    )
    started = time.perf_counter()
    spent, outcomes = _read_state(folder) if options.resume else (0.0, [])
    with progress_bar(len(numbers), config.component, "texts") as bar:
        bar.update(len(outcomes))
        for number in numbers[len(outcomes) :]:
            outcomes.append(_attacked(config, victim, data, number))
            bar.update()
            if len(outcomes) % _EVERY == 0:
                _write_state(folder, outcomes, spent + time.perf_counter() - started)
    seconds = spent + time.perf_counter() - started
    failed = seen_in_training(target.metadata, data, options)
    lines = [json.dumps(asdict(outcome), ensure_ascii=False) + "\n" for outcome in outcomes]
    write_text(folder / FILE, "".join(lines))
    result = _result(config, target, similarity, data, outcomes, machine, round(seconds, 3), failed)
    _draw(folder, result, target, data, outcomes)
    return result


def _chosen(options: TextAttackOptions, data: TextSet) -> list[int]:
    """The numbers of the test texts that are meant, ascending. Those of a file are often in the
    order of their classes, so that a part of them is drawn."""
    total = len(data.test)
    if options.limit is None or options.limit >= total:
        return list(range(total))
    generator = torch.Generator().manual_seed(derive(options.split_seed, 5))
    drawn: list[int] = torch.randperm(total, generator=generator)[: options.limit].tolist()
    return sorted(drawn)


def _attacked(config: Config, victim: TextVictim, data: TextSet, number: int) -> Outcome:
    """What became of one test text, alone."""
    options: TextAttackOptions = config.options
    label = int(data.test.labels[number])
    words = tuple(tokens(data.test.texts[number])[: data.max_words])
    original = " ".join(words)
    read = victim.numbers(words)
    clean = victim.logits([read])
    wrong = is_broken(float(margin(clean, label)))
    victim.queries = 0
    perturbed = words
    if words and not wrong:
        attack = load_component("advlab.attacks", config.component, "attack").perturb
        task = TextTask(words, label, most_changes(len(words), options.max_perturbed))
        random = ImageRandom(options.seed, torch.tensor([number]))
        perturbed = attack(victim, task, random, options)
    queries = victim.queries
    # What counts is the text as anybody would hand it to the network, read anew.
    reread = victim.numbers(tokens(" ".join(perturbed))[: data.max_words])
    logits = victim.logits([reread])
    before, after = clean.softmax(1)[0], logits.softmax(1)[0]
    space = victim.space
    return Outcome(
        number=number,
        label=label,
        before=int(before.argmax()),
        after=int(after.argmax()),
        probability_before=round(float(before.max()), 6),
        probability_after=round(float(after.max()), 6),
        broken=not wrong and is_broken(float(margin(logits, label))),
        wrong=wrong,
        original=original,
        perturbed=" ".join(perturbed),
        words=len(words),
        changed=sum(a != b for a, b in zip(words, perturbed, strict=True)),
        edit_distance=edit_distance(original, " ".join(perturbed)),
        similarity=None if space is None else round(space.similarity(read, reread), 6),
        queries=queries,
    )


def _read_state(folder: Path) -> tuple[float, list[Outcome]]:
    """The seconds that an interrupted run took, and its outcomes."""
    content = sealed.read_bytes(folder / _STATE)
    if content is None:
        return 0.0, []
    values = json.loads(content)
    return values["seconds"], [Outcome(**outcome) for outcome in values["outcomes"]]


def _write_state(folder: Path, outcomes: Sequence[Outcome], seconds: float) -> None:
    values = {"seconds": seconds, "outcomes": [asdict(outcome) for outcome in outcomes]}
    sealed.write_bytes(folder / _STATE, json.dumps(values).encode())


def _result(
    config: Config,
    target: TextTarget,
    similarity: Similarity,
    data: TextSet,
    outcomes: Sequence[Outcome],
    machine: Machine,
    seconds: float,
    failed: dict[str, str],
) -> TextAttackResult:
    attacked = [outcome for outcome in outcomes if not outcome.wrong]
    broken = [outcome for outcome in attacked if outcome.broken]
    similarities = [one.similarity for one in broken if one.similarity is not None]
    return TextAttackResult(
        command="attack",
        component=config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=target.metadata.model,
        seed=config.options.seed,
        seconds=seconds,
        machine=machine.describe(),
        max_perturbed=config.options.max_perturbed,
        clean_accuracy=len(attacked) / len(outcomes),
        robust_accuracy=(len(attacked) - len(broken)) / len(outcomes),
        success_rate=len(broken) / max(1, len(attacked)),
        perturbed_words=mean(one.changed / one.words for one in broken) if broken else None,
        edit_distance=mean(one.edit_distance for one in broken) if broken else None,
        similarity=mean(similarities) if similarities else None,
        vectors=similarity.source,
        queries=mean(one.queries for one in attacked) if attacked else 0.0,
        unchanged=sum(one.changed == 0 for one in attacked),
        curve=smallest.accuracy_by_norm(_fractions(attacked), len(outcomes)),
        texts=len(outcomes),
        texts_sha256=_hash(data, outcomes),
        attacked=len(attacked),
        classes=len(data.classes),
        network=target.record,
        checks_failed=failed,
    )


def _hash(data: TextSet, outcomes: Sequence[Outcome]) -> str:
    """The sha256 of the test texts and of their classes."""
    chosen = [[data.test.texts[one.number], one.label] for one in outcomes]
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()


def _fractions(attacked: Sequence[Outcome]) -> Tensor:
    """For each attacked text the fraction of its words whose change broke it; infinity for one that
    was not broken."""
    return torch.tensor(
        [one.changed / one.words if one.broken else torch.inf for one in attacked],
        dtype=torch.float64,
    )


def _draw(
    folder: Path,
    result: TextAttackResult,
    target: TextTarget,
    data: TextSet,
    outcomes: Sequence[Outcome],
) -> None:
    """The figure, and the examples as a table and as a page."""
    what = f"{display_name(result.component)} against {target.label} on {dataset_title(data.name)}"
    caption = (
        f"{data.origin} · {result.texts:,} test texts · at most {100 * result.max_perturbed:g} % "
        f"of the words of each, rounded up · seed {result.seed}"
    )
    title = f"Accuracy under {what} by changed words"
    limit = result.max_perturbed
    drawn = accuracy_against_words(result.curve, result.classes, title, caption, limit)
    save(drawn, folder / "words.png")
    examples = [
        text_examples.Example(
            one.number,
            data.classes[one.label],
            data.classes[one.after],
            one.probability_after,
            one.original.split(" "),
            one.perturbed.split(" "),
        )
        for one in outcomes
        if one.broken
    ]
    text_examples.write(folder, examples, f"Texts broken by {what}", caption)


def _report(result: TextAttackResult) -> None:
    def formatted(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    changed = result.perturbed_words
    rows = [
        ["clean accuracy", with_interval(result.clean_accuracy, result.texts)],
        ["robust accuracy", with_interval(result.robust_accuracy, result.texts)],
        ["success", percent(result.success_rate)],
        ["changed words", "–" if changed is None else percent(changed)],
        ["edit distance in letters", formatted(result.edit_distance, ".1f")],
        ["similarity", formatted(result.similarity, ".3f")],
        ["queries", f"{result.queries:.1f}"],
    ]
    budget = f"{100 * result.max_perturbed:g} % of the words"
    logger.info(table([f"{result.component}, at most {budget}", f"{result.texts:,} texts"], rows))
    logger.info(
        "accuracies with their 95 % confidence intervals over the choice of texts; changed words, "
        "edit distance and similarity are means over the broken texts, queries over the attacked"
    )
    if result.unchanged:
        logger.info(_unchanged(result, result.unchanged))
    log_failed(result.checks_failed)


def _unchanged(result: TextAttackResult, unchanged: int) -> str:
    """How many attacked texts the attack left as they were, and what would change more."""
    count = f"in {unchanged:,} of {counted(result.attacked, 'attacked text')} no word was changed"
    if result.component != "word_swap":
        return f"{count}: no change of a single word raised the loss"
    return (
        f"{count}: no substitute is similar enough, or none raises the loss; --min-similarity "
        "lowers the bound, --vectors names other word vectors"
    )
