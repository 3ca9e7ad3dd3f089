"""Checkpoints: weights in a safetensors file, with the metadata that rebuild the network.

A checkpoint is data, never code: nothing here unpickles, and only networks that advlab itself
knows are rebuilt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from advlab.config.model_modules import is_referenced, model_module
from advlab.config.references import names_code
from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.logs import logger
from advlab.networks import classifier, referenced, text
from advlab.networks.code_hash import value_hash
from advlab.networks.metadata import (
    IMAGE_CLASSIFIER,
    KINDS,
    TEXT_CLASSIFIER,
    ImageClassifierMetadata,
    Kind,
    Metadata,
    TextClassifierMetadata,
    kind_in,
    kind_of,
    read_metadata,
)
from advlab.networks.tensor_hash import bytes_of, is_dense, update_with
from advlab.networks.weights import check_shapes, read_fitting
from advlab.runs import pruning
from advlab.runs.files import read_json, write_atomically
from advlab.runs.folder import is_run

FILE = IMAGE_CLASSIFIER.file
"""The file of a classifier's checkpoint in the folder of a run."""


def save(path: Path, network: nn.Module | Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write a network, or its tensors by name, and the metadata to ``path``, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    state = network.state_dict() if isinstance(network, nn.Module) else network
    text_of = {kind_of(metadata).key: metadata.model_dump_json()}
    content = to_bytes(contiguous(state), metadata=text_of)
    write_atomically(path, lambda file: file.write(content))


def contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors on the CPU as safetensors takes them: contiguous, sharing no memory."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def is_image_classifier(path: Path) -> bool:
    """Whether ``path`` is a checkpoint of a classifier of images, or the folder of a run with
    one."""
    try:
        read_metadata(path / FILE if path.is_dir() else path, IMAGE_CLASSIFIER)
    except UsageError:
        return False
    return True


def load(path: Path, code: str | None = None) -> tuple[nn.Module, ImageClassifierMetadata]:
    """Rebuild a classifier of images, on the CPU and in evaluation mode.

    Args:
        path: a ``.safetensors`` file that ``save`` wrote, or a run's folder that holds one.
        code: the code that makes the network, for a checkpoint whose network is made by code.

    Raises:
        UsageError: the file is missing, is no such checkpoint, or does not fit the network that it
            names.
    """
    file = locate(path, IMAGE_CLASSIFIER)
    metadata = read_metadata(file, IMAGE_CLASSIFIER)
    if code is not None:
        if not names_code(metadata.model):
            raise UsageError(f"{file} holds {metadata.model}, and not a network of {code}")
        metadata = metadata.model_copy(update={"model": code})
    elif names_code(metadata.model):
        referenced.check_trusted(
            metadata.model, f"{file}: ", f"--model {metadata.model} --weights {path}"
        )
    return _with_weights(file, metadata.model, _builder(file, metadata)), metadata


def check_sizes(file: Path, metadata: ImageClassifierMetadata) -> None:
    """Refuse a checkpoint of a network of advlab's whose tensors are not those of the network that
    it names. Neither is loaded.

    Raises:
        UsageError: a tensor has another shape, is missing or of no use.
    """
    build = _builder(file, metadata)
    check_shapes(file, metadata.model, lambda: build().state_dict())


def _builder(file: Path, metadata: ImageClassifierMetadata) -> Callable[[], nn.Module]:
    """What builds the network that a checkpoint names, without its weights.

    Raises:
        UsageError: the architecture that it names is none.
    """
    architecture = _architecture(file, metadata)
    filters = {str(key): value for key, value in metadata.filters.items()}
    channels = metadata.shape[0]

    def build() -> nn.Module:
        # The statistics of the data are buffers and come from the file, as the weights do.
        return classifier.assemble(
            metadata.model,
            architecture,
            metadata.shape,
            len(metadata.classes),
            [0.0] * channels,
            [1.0] * channels,
            filters,
        )

    return build


def load_text_classifier(path: Path) -> tuple[nn.Module, TextClassifierMetadata]:
    """Rebuild a classifier of texts, on the CPU and in evaluation mode.

    Args:
        path: as for ``load``.

    Raises:
        UsageError: as for ``load``.
    """
    file = locate(path, TEXT_CLASSIFIER)
    metadata = read_metadata(file, TEXT_CLASSIFIER)
    architecture = _architecture(file, metadata)
    if not text.takes_texts(metadata.model):
        raise UsageError(f"{file}: {metadata.model} reads no texts")
    words, classes = len(metadata.words) + 2, len(metadata.classes)

    def build() -> nn.Module:
        return text.assemble(metadata.model, architecture, words, classes)

    return _with_weights(file, metadata.model, build), metadata


def _architecture(file: Path, metadata: ImageClassifierMetadata | TextClassifierMetadata) -> Any:
    """The validated ``Architecture`` that a checkpoint names."""
    kind = model_module(metadata.model).Architecture
    try:
        return kind(**metadata.architecture)
    except ValidationError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise UsageError(
            f"{file}: its weights do not fit the {metadata.model} that it names: {reason}"
        ) from error


def _with_weights(file: Path, name: str, build: Callable[[], nn.Module]) -> nn.Module:
    """The network that ``build`` returns with the weights of the file."""
    if is_referenced(name):  # others than ours may need real numbers as they are built
        network = build()
        state = read_fitting(file, name, network.state_dict)
    else:
        state = read_fitting(file, name, lambda: build().state_dict())
        network = build()
    network.load_state_dict(state)
    return network.eval()


def locate(path: Path, kind: Kind[Any] = IMAGE_CLASSIFIER) -> Path:
    """The checkpoint file that ``path`` means: the file itself, or the one in the run's folder.

    Raises:
        UsageError: there is none, it is not the one that the finished run beside it wrote, or a
            search ended its training early.
    """
    file = path / kind.file if path.is_dir() else path
    if not is_plain(file):
        if not path.is_dir():
            # As 'advlab list' names runs, without the folder of all runs.
            run = Path("samples") / path
            elsewhere = f"; there is one at {run}" if (run / kind.file).is_file() else ""
            raise UsageError(f"no checkpoint at {path}{elsewhere}")
        noun = kind.noun.split(" ", 1)[1]
        files = dict.fromkeys(other.file for other in KINDS if other.file != kind.file)
        present = next((path / name for name in files if (path / name).is_file()), None)
        held = None if present is None else kind_in(present)
        raise UsageError(
            f"no {noun} at {path}: the folder holds no {kind.file}"
            + (f", but {present.name}" if present is not None else "")
            + (f", which is {held.noun}" if held is not None else "")
        )
    pruning.refuse(file.parent)
    check_hash(file)
    return file


def warn_of_unfinished(file: Path) -> None:
    """Say that a checkpoint is of a run that is not finished: its figures are of a network that is
    trained by half."""
    if is_run(file.parent) and not (file.parent / "metrics.json").exists():
        logger.info(
            f"WARNING: {file.parent}: this run is not finished, and its network is the best one so "
            "far; the line that began it goes on with it"
        )


def check_hash(file: Path) -> None:
    """Refuse a checkpoint whose hash differs from the one in the result of its run.

    The figures in ``metrics.json`` belong to the network that the run wrote. A bit may have
    flipped since, or another file may have been copied over it. Files of other names, and files
    beside no finished run, pass.

    Raises:
        UsageError: the hashes differ; the line gives both and the ways out.
        EnvironmentFailure: the run's result cannot be read.
    """
    result = file.parent / "metrics.json"
    if file.name not in {kind.file for kind in KINDS} or not is_plain(result):
        return
    try:
        recorded = read_json(result).get("checkpoint_sha256")
    except (OSError, ValueError) as error:
        raise EnvironmentFailure(
            f"{result} cannot be read, so that nothing tells whether {file.name} is that run's "
            f"({str(error).splitlines()[0]}); "
            f"run it again with --overwrite, or copy {file.name} to another folder"
        ) from error
    if recorded is not None and recorded != (actual := sha256(file)):
        raise UsageError(
            f"{file} is not the network of the run there: sha256 {str(recorded)[:12]}… in "
            f"{result.name}, {actual[:12]}… of the file; "
            "it was damaged or replaced since. Run it again with --overwrite, or copy the file "
            "to another folder to use it as it is"
        )


def sha256_of(network: nn.Module) -> str:
    """Hash of a network's weights and buffers, for a network that has no checkpoint.

    A state dict may also hold packed parameters of quantised layers, and states of any kind.

    Raises:
        ValueError: some tensor of it has no values, or they cannot be read.
    """
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        try:
            if not isinstance(value, Tensor):
                digest.update(value_hash(value).encode())
            elif is_dense(value):
                digest.update(bytes_of(value))
            else:
                update_with(digest, value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return digest.hexdigest()


def sha256(file: Path) -> str:
    """Hash of a file, by which a result names the network that it was measured on."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
