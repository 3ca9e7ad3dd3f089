"""Training of a network in its run folder, and its measurement on the test set."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn import functional

from advlab.config.base import Options
from advlab.config.options.run import TrainOptions
from advlab.config.options.text import OWN_VECTORS
from advlab.config.resolve import Config
from advlab.data import load_texts
from advlab.data.formats.word_vectors import Vectors
from advlab.data.formats.word_vectors import read as read_vectors
from advlab.data.image_set import Images, ImageSet
from advlab.data.load_images import how_loaded
from advlab.data.subwords import Subwords
from advlab.data.text_set import Texts, TextSet
from advlab.data.word_space import WordSpace
from advlab.experiments.starting import (
    settled_architecture,
    starting_contents,
    starting_network,
)
from advlab.experiments.trained_on import check_weights_unseen, sketch_of
from advlab.logs import logger
from advlab.metrics.classification import accuracy, majority_accuracy
from advlab.networks import checkpoint
from advlab.networks.classifier import architecture_of, count_parameters
from advlab.networks.layout import place
from advlab.networks.metadata import ImageClassifierMetadata, TextClassifierMetadata
from advlab.networks.text import assemble as assemble_reader
from advlab.networks.text import prepare as prepare_reader
from advlab.networks.text import start_from
from advlab.networks.word_scale import normalise_embedding, with_plain_embedding
from advlab.results.train import TrainedFigures
from advlab.runs.folder import automatic_name
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, derive
from advlab.runs.processes import current, leave_rest_to_first
from advlab.runs.results import Finished, Result, SplitSizes
from advlab.training.adversarial_texts import AdversarialEmbeddings
from advlab.training.augmented import AugmentedTexts
from advlab.training.distributed import check_batches
from advlab.training.evaluate import Examples, logits_of
from advlab.training.fit import TrainingProgress, fit
from advlab.training.objective import Objective, Watch, balanced
from advlab.training.skip_gram import skip_gram

R = TypeVar("R", bound=Result)

_SYNONYMS, _LEAST_COSINE = 5, 0.5  # how many words may replace one, and how near they must be


@dataclass(frozen=True)
class Fitted:
    """A network as its checkpoint holds it, and what it does.

    Attributes:
        network: in evaluation mode, on the machine's device.
        test_logits: of the test images, in the network's own float32; (N, classes), on the CPU.
        figures: what a result says of a training.
    """

    network: nn.Module
    progress: TrainingProgress
    test_logits: Tensor
    figures: TrainedFigures


def fit_network(
    name: str,
    options: TrainOptions,
    train: Images,
    data: ImageSet,
    machine: Machine,
    folder: Path,
    *,
    objective: Objective | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """Train the network ``name`` on ``train``, write its best epoch to ``folder``, and measure that
    one on the test images.

    Several processes train together; only the first of them returns.
    """
    architecture = settled_architecture(name, options)
    model = starting_network(name, options, data.shape, data.classes, train)
    place(model, machine.device)
    logger.info(
        f"{name}: {_parameters(model)}, {len(train):,} training images, "
        f"{machine.precision} on {machine.device}{_processes()}, seed {options.seed}"
    )
    file = folder / checkpoint.FILE
    objective = objective or Objective(options.label_smoothing)
    _weigh_classes(objective, options, train, len(data.classes))
    examples = sketch_of(train, options.weights)

    def keep(network: nn.Module, progress: TrainingProgress) -> None:
        metadata = ImageClassifierMetadata(
            model=name,
            architecture=architecture.model_dump(),
            shape=data.shape,
            classes=data.classes,
            dataset=data.name,
            data=how_loaded(options),
            training=_training_record(options.seed, progress),
            examples=examples,
        )
        checkpoint.save(file, network, metadata)

    progress = fit(
        model,
        train,
        data.val,
        options,
        machine,
        folder,
        keep=keep,
        objective=objective,
        watch=watch,
    )
    leave_rest_to_first()
    best, _ = checkpoint.load(file)
    place(best, machine.device)
    return _measured(best, progress, train, data, machine, file)


def _training_record(seed: int, progress: TrainingProgress) -> dict[str, JsonValue]:
    """What a checkpoint says of the training that it comes from."""
    return {
        "seed": seed,
        "epoch": progress.best_epoch,
        "val_accuracy": progress.best["val_accuracy"],
    }


def _processes() -> str:
    """How many processes share each batch, where there are several."""
    return "" if current().size == 1 else f" in {current().size} processes"


def _parameters(model: nn.Module) -> str:
    """How many numbers the network holds, and how many of them are trained where not all are."""
    trained, every = count_parameters(model), sum(value.numel() for value in model.parameters())
    of_all = "" if trained == every else f"{trained:,} of "
    return f"{of_all}{every:,} parameters"


def fit_texts(
    name: str,
    options: TrainOptions,
    train: Texts,
    data: TextSet,
    machine: Machine,
    folder: Path,
) -> Fitted:
    """The same for a network that reads texts."""
    vectors = vectors_for(options, data, train)
    if vectors is not None:
        logger.info(
            f"vectors of {vectors.dimension} numbers for {100 * vectors.coverage:.1f} % of the "
            f"known {data.vocabulary.units}"
        )
    model, architecture = reader(name, options, train, data, vectors)
    model.to(machine.device)
    logger.info(
        f"{name}: {count_parameters(model):,} parameters, "
        f"{len(data.vocabulary.words):,} {data.vocabulary.units}, "
        f"{len(train):,} training texts, "
        f"{machine.precision} on {machine.device}{_processes()}, seed {options.seed}"
    )
    file = folder / checkpoint.FILE
    objective = text_objective(options, vectors, len(data.vocabulary))
    _weigh_classes(objective, options, train, len(data.classes))
    examples = sketch_of(train)

    def keep(network: nn.Module, progress: TrainingProgress) -> None:
        metadata = TextClassifierMetadata(
            model=name,
            architecture=architecture.model_dump(),
            words=data.vocabulary.words,
            merges=data.vocabulary.merges if isinstance(data.vocabulary, Subwords) else None,
            max_words=data.max_words,
            classes=data.classes,
            dataset=data.name,
            data=load_texts.how_loaded(options),
            training=_training_record(options.seed, progress),
            examples=examples,
        )
        checkpoint.save(file, with_plain_embedding(network), metadata)

    progress = fit(
        model,
        train,
        data.val,
        options,
        machine,
        folder,
        keep=keep,
        objective=objective,
    )
    leave_rest_to_first()
    best, _ = checkpoint.load_text_classifier(file)
    return _measured(best.to(machine.device), progress, train, data, machine, file)


def vectors_for(options: Any, data: TextSet, train: Texts) -> Vectors | None:
    """The word vectors that the options name; None where they name none, or the network has no
    place for any.

    Args:
        train: the texts from which vectors are learned, where these are meant.
    """
    named = getattr(options, "vectors", None)
    if named is None:
        return None
    if named == OWN_VECTORS:
        words, seed = len(data.vocabulary), derive(options.seed, 6)
        return skip_gram(train, words, options.embedding, seed)
    return read_vectors(Path(named), data.vocabulary)


def reader(
    name: str, options: TrainOptions, train: Texts, data: TextSet, vectors: Vectors | None
) -> tuple[nn.Module, Options]:
    """Return a network that reads texts, before its first training step, and its architecture."""
    torch.manual_seed(derive(options.seed, 3))
    architecture = architecture_of(name, options)
    if vectors is not None:
        architecture = architecture.model_copy(update={"embedding": vectors.dimension})
    model = assemble_reader(name, architecture, len(data.vocabulary), len(data.classes))
    if vectors is not None:
        start_from(model, vectors.numbers, vectors.rows)
    prepare_reader(model, train.batches())
    if _perturbs_embeddings(options):
        normalise_embedding(model, train.counts(len(data.vocabulary)))
    return model, architecture


def text_objective(options: Any, vectors: Vectors | None = None, words: int = 0) -> Objective:
    """The loss of a network that reads texts: of changed texts and of perturbed embeddings where
    these are asked for.

    Args:
        vectors: in which words are near each other, where some are to be replaced by such.
        words: how many indices the vocabulary has.
    """
    objective = Objective(options.label_smoothing)
    if _perturbs_embeddings(options):
        objective = AdversarialEmbeddings(
            options.adversarial_eps, options.adversarial_weight, options.label_smoothing
        )
    dropped, swapped, substituted = (
        getattr(options, name, 0.0) for name in ("word_dropout", "word_swap", "word_synonyms")
    )
    near = None
    if substituted and vectors is not None:
        near = WordSpace.of_vectors(vectors, words).nearest(_SYNONYMS, _LEAST_COSINE)
    if dropped or swapped or near is not None:
        return AugmentedTexts(objective, dropped, swapped, substituted, near)
    return objective


def weighs_classes(options: Any) -> bool:
    """Whether classes are weighted in the training loss."""
    return getattr(options, "class_weights", "none") == "balanced"


def _weigh_classes(objective: Objective, options: Any, train: Examples, classes: int) -> None:
    """Let every class count as much as the options say."""
    if weighs_classes(options):
        objective.weigh_classes(balanced(train.labels, classes))


def _perturbs_embeddings(options: Any) -> bool:
    """Whether embeddings are perturbed in training; never where a network has none."""
    return getattr(options, "adversarial_eps", 0.0) > 0


def _measured(
    best: nn.Module,
    progress: TrainingProgress,
    train: Examples,
    data: ImageSet | TextSet,
    machine: Machine,
    file: Path,
) -> Fitted:
    # The figures that are reported, and that every attack starts from, are taken in the network's
    # own float32.
    exact = Machine(machine.device, "fp32")
    test_logits = logits_of(best, data.test, exact)
    train_logits = logits_of(best, train, exact, "accuracy on training data")
    test_loss = float(functional.cross_entropy(test_logits, data.test.labels))
    figures = TrainedFigures(
        test_accuracy=accuracy(test_logits, data.test.labels),
        test_loss=test_loss if math.isfinite(test_loss) else None,
        val_accuracy=progress.best["val_accuracy"],
        train_accuracy=accuracy(train_logits, train.labels),
        best_epoch=progress.best_epoch,
        epochs=progress.epoch,
        unit="images" if isinstance(data, ImageSet) else "texts",
        examples=SplitSizes(train=len(train), val=len(data.val), test=len(data.test)),
        checkpoint=checkpoint.FILE,
        checkpoint_sha256=checkpoint.sha256(file),
        majority_accuracy=majority_accuracy(data.test.labels),
    )
    return Fitted(best, progress, test_logits, figures)


def trained(
    model: nn.Module,
    train: Examples,
    val: Examples,
    options: TrainOptions,
    machine: Machine,
    objective: Objective | None = None,
) -> nn.Module:
    """A copy of ``model`` as it was after its best epoch, in evaluation mode; nothing is written.
    ``epochs`` must be settled.

    For studies that train many networks and keep none.

    Args:
        objective: loss and logits of a batch; cross-entropy where not given.
    """
    best = copy.deepcopy(model)

    def keep(network: nn.Module, progress: TrainingProgress) -> None:
        best.load_state_dict(network.state_dict())

    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            train,
            val,
            options,
            machine,
            Path(folder),
            keep=keep,
            objective=objective,
            lasting=False,
        )
    return best.eval()


def hidden_of(model: nn.Module, examples: Examples, machine: Machine) -> Tensor:
    """What the network's last layer sees of each example, float32 (N, D), on the CPU; the logits
    of a network that has no such layer."""
    latest: list[Tensor] = []  # what the linear layer that was called last was given
    parts: list[Tensor] = []

    def called(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        latest[:] = inputs[:1]

    def ended(*_: object) -> None:
        parts.extend(inputs.float().cpu() for inputs in latest)
        latest.clear()

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(called) for layer in layers]
    hooks.append(model.register_forward_hook(ended))
    try:
        logits = logits_of(model, examples, machine)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(parts) if parts else logits


def carry_out_training(
    config: Config,
    data: ImageSet | TextSet,
    examples: int,
    result: type[R],
    measure: Callable[[Config, Path], R],
    report: Callable[[R], None],
) -> Finished[R]:
    """Carry out a run that trains on the data set alone, with its number of epochs settled.

    Args:
        examples: how many examples it trains on.
        measure: trains and measures; it is given the settled configuration and the folder.
    """
    settled = config.changed(epochs=epochs_of(config.options, examples))
    check_batches(config.options.batch_size, examples)
    logger.info(data.introduction())
    contents = {"data": data.sha256()}
    if isinstance(data, ImageSet):
        contents |= starting_contents(config.component, config.options)
        check_weights_unseen(config.options.weights, data, config.options)
    experiment = Experiment(
        config=settled,
        contents=contents,
        result=result,
        measure=lambda folder: measure(settled, folder),
        report=report,
        name=automatic_name(config),
    )
    return carry_out(experiment)


def epochs_of(options: TrainOptions, images: int) -> int:
    """The epochs asked for; else the network's usual number, or as many as a small set needs for
    enough steps."""
    steps = -(-images // options.batch_size)
    return options.epochs or max(options.usual_epochs, -(-options.least_steps // steps))
