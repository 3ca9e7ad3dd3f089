"""``advlab scratch train``: train a network written in NumPy."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from advlab.config.options.scratch import ScratchTrainOptions
from advlab.config.resolve import Config
from advlab.data import load_images as datasets
from advlab.data.image_set import Images, ImageSet, take
from advlab.errors import EnvironmentFailure
from advlab.logs import logger
from advlab.metrics.classification import confusion_matrix, majority_accuracy, majority_warning
from advlab.metrics.intervals import with_interval
from advlab.plots.confusion import confusion
from advlab.plots.style import save
from advlab.plots.training import curves
from advlab.progress import EpochNotes, progress_bar
from advlab.results.scratch import ScratchTrainResult
from advlab.runs import sealed
from advlab.runs.files import write_atomically, write_text
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine, derive
from advlab.runs.results import Finished, SplitSizes
from advlab.runs.table import percent, table
from advlab.scratch import weights as scratch_weights
from advlab.scratch.layers import Array
from advlab.scratch.loss import Labels, cross_entropy_of_logits
from advlab.scratch.network import Network
from advlab.scratch.sgd import accuracy, epoch

STATE, WEIGHTS, HISTORY = "resume.safetensors", "model.safetensors", "history.jsonl"
MACHINE = Machine(torch.device("cpu"), "fp32")


@dataclass
class ScratchProgress:
    """The state of a training: the epochs done, their figures, and the best epoch on validation
    images."""

    epoch: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def run(config: Config) -> Finished[ScratchTrainResult]:
    """Train one network, unless its run is there already.

    Raises:
        EnvironmentFailure: the loss stopped being a number.
    """
    data = datasets.load_to_train(config.options)
    settled = config.changed(dataset=data.name)
    options: ScratchTrainOptions = settled.options
    train = take(data.train, options.train_size, options.seed)
    logger.info(data.introduction())

    def measure(folder: Path) -> ScratchTrainResult:
        # A batch is too small to share between threads, and the bits depend on the sharing.
        with threadpool_limits(1, user_api="blas"):
            return _measure(options, train, data, folder)

    experiment = Experiment(
        config=settled,
        contents={"data": data.sha256()},
        result=ScratchTrainResult,
        measure=measure,
        report=_report,
    )
    return carry_out(experiment)


def _measure(
    options: ScratchTrainOptions, train: Images, data: ImageSet, folder: Path
) -> ScratchTrainResult:
    inputs, labels = rows(train)
    sizes = [inputs.shape[1], *options.hidden, len(data.classes)]
    network = Network.drawn(sizes, np.random.default_rng(derive(options.seed, 3)))
    name = "-".join(map(str, sizes))
    parameters = sum(array.size for array in network.parameters.values())
    logger.info(
        f"{name}: {parameters:,} parameters, {len(train):,} training images, seed {options.seed}"
    )
    best, progress = fit(network, inputs, labels, rows(data.val), options, folder)
    network.load(best)
    trained = {
        "sizes": sizes,
        "dataset": data.name,
        "seed": options.seed,
        "epoch": progress.best_epoch,
    }
    weights = scratch_weights.to_bytes(best, trained)
    write_atomically(folder / WEIGHTS, lambda file: file.write(weights))
    test_inputs, test_labels = rows(data.test)
    logits = network.logits(test_inputs)
    best_record = progress.history[progress.best_epoch - 1]
    result = ScratchTrainResult(
        command="scratch",
        component="train",
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=name,
        parameters=parameters,
        seed=options.seed,
        seconds=round(progress.seconds, 4),
        machine=MACHINE.describe(numpy=np.__version__, threads=1),
        lr=options.lr,
        test_accuracy=accuracy(logits, test_labels),
        test_loss=cross_entropy_of_logits(logits, test_labels),
        val_accuracy=best_record["val_accuracy"],
        train_accuracy=accuracy(network.logits(inputs), labels),
        best_epoch=progress.best_epoch,
        epochs=progress.epoch,
        examples=SplitSizes(train=len(train), val=len(data.val), test=len(data.test)),
        checkpoint=WEIGHTS,
        checkpoint_sha256=hashlib.sha256(weights).hexdigest(),
        majority_accuracy=majority_accuracy(data.test.labels),
    )
    _draw(result, progress, data, logits, folder)
    return result


def _draw(
    result: ScratchTrainResult,
    progress: ScratchProgress,
    data: ImageSet,
    logits: Array,
    folder: Path,
) -> None:
    """The pictures of a training: curves and confusion matrix."""
    accuracy_text = f"test accuracy {percent(result.test_accuracy)}"
    source = result.examples.of(data.origin, len(data.train))
    caption = f"{source} · learning rate {result.lr:g}, seed {result.seed} · {accuracy_text}"
    title = f"from scratch, {result.model} on {data.name}"
    drawn = curves(
        progress.history, progress.best_epoch, f"Training {title}", caption, smoothed=False
    )
    save(drawn, folder / "curves.png")
    predicted = torch.from_numpy(logits).argmax(1)
    counts = confusion_matrix(data.test.labels, predicted, len(data.classes)).numpy()
    save(
        confusion(
            counts,
            data.classes,
            f"Confusion matrix {title}, {len(predicted):,} test images",
            caption,
        ),
        folder / "confusion.png",
    )


def rows(images: Images) -> tuple[Array, Labels]:
    """Images as rows (N, C·H·W) of float32 in [0, 1], widened from bytes once; and their labels."""
    flat = images.pixels.flatten(1).numpy().astype(np.float32)
    flat /= 255
    return flat, images.labels.numpy()


def fit(
    network: Network,
    inputs: Array,
    labels: Labels,
    val: tuple[Array, Labels],
    options: ScratchTrainOptions,
    folder: Path,
) -> tuple[dict[str, Array], ScratchProgress]:
    """Train ``network`` in place, going on where an interrupted run of the same settings stopped.

    Returns:
        The weights of the best epoch on the validation images (the last of several as good), and
        what happened.

    Raises:
        EnvironmentFailure: the loss stopped being a number.
    """
    best, progress = network.copied(), ScratchProgress()
    state = sealed.read_bytes(folder / STATE) if options.resume else None
    if state is not None:
        best, progress = _restored(state, folder / STATE, network)
        logger.info(f"going on after epoch {progress.epoch} of {options.epochs}")
    _write_history(folder, progress.history)
    notes = EpochNotes(options.epochs)
    while progress.epoch < options.epochs:
        started = time.perf_counter()
        order = np.random.default_rng(derive(options.seed, 0, progress.epoch)).permutation(
            len(labels)
        )
        with progress_bar(
            len(order), f"epoch {progress.epoch + 1}/{options.epochs}", "images"
        ) as bar:
            loss, right = epoch(
                network, inputs, labels, order, options.batch_size, options.lr, bar.update
            )
        speed = len(order) / (time.perf_counter() - started)
        with np.errstate(all="ignore"):
            logits = network.logits(val[0])
            val_loss = cross_entropy_of_logits(logits, val[1])
        if not (math.isfinite(loss) and math.isfinite(val_loss)):
            raise EnvironmentFailure(
                f"the loss stopped being a number in epoch {progress.epoch + 1}, at learning "
                f"rate {options.lr:g}; a smaller --lr helps"
            )
        progress.epoch += 1
        progress.seconds += time.perf_counter() - started
        record = {
            "loss": loss,
            "accuracy": right,
            "val_loss": val_loss,
            "val_accuracy": accuracy(logits, val[1]),
            "lr": options.lr,
        }
        timing = {"images_per_second": round(speed, 1), "seconds": round(progress.seconds, 3)}
        progress.history.append({"epoch": progress.epoch, **record, **timing})
        notes(
            progress.epoch,
            {
                "loss": f"{loss:.4f}",
                "validation accuracy": percent(record["val_accuracy"]),
                "time": f"{progress.seconds:.0f} s",
            },
        )
        if (
            not progress.best_epoch
            or record["val_accuracy"] >= progress.history[progress.best_epoch - 1]["val_accuracy"]
        ):
            best, progress.best_epoch = network.copied(), progress.epoch
        parts = {"now": network.parameters, "best": best}
        arrays = {
            f"{part}.{name}": array for part, held in parts.items() for name, array in held.items()
        }
        sealed.write_bytes(folder / STATE, scratch_weights.to_bytes(arrays, asdict(progress)))
        _write_history(folder, progress.history)
    return best, progress


def _restored(
    state: bytes, path: Path, network: Network
) -> tuple[dict[str, Array], ScratchProgress]:
    """Put back the network as it was, and hand out the best one so far."""
    arrays, values = scratch_weights.from_bytes(state, path)
    best = {
        name.removeprefix("best."): array
        for name, array in arrays.items()
        if name.startswith("best.")
    }
    try:
        network.load(
            {
                name.removeprefix("now."): array
                for name, array in arrays.items()
                if name.startswith("now.")
            }
        )
        return best, ScratchProgress(**values)
    except (TypeError, ValueError) as error:
        raise EnvironmentFailure(
            f"{path} cannot be resumed from ({error}); --overwrite starts over"
        ) from error


def _write_history(folder: Path, history: Sequence[dict[str, float]]) -> None:
    write_text(
        folder / HISTORY, "".join(json.dumps(record, allow_nan=False) + "\n" for record in history)
    )


def _report(result: ScratchTrainResult) -> None:
    lines = [
        ["test accuracy", with_interval(result.test_accuracy, result.examples.test)],
        ["validation accuracy", percent(result.val_accuracy)],
        ["kept epoch", f"{result.best_epoch} of {result.epochs}"],
        ["parameters", f"{result.parameters:,}"],
        ["seconds", f"{result.seconds:.1f}"],
    ]
    logger.info(
        table([f"{result.model} from scratch on {result.dataset}, lr {result.lr:g}", ""], lines)
    )
    warning = majority_warning(
        "the network",
        result.test_accuracy,
        result.majority_accuracy,
        result.examples.test,
        "test images",
    )
    if warning:
        logger.info(f"WARNING: {warning}")
