"""Checkpoints of generators: generator, discriminator and running average in one file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from advlab.gan.networks import GanNetworks
from advlab.networks import checkpoint
from advlab.networks.metadata import GENERATOR, GeneratorMetadata, read_metadata
from advlab.networks.weights import read_fitting

FILE = GENERATOR.file


def save(path: Path, pair: GanNetworks, metadata: GeneratorMetadata) -> None:
    """Write all networks and the metadata to ``path``, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    checkpoint.save(path, _tensors(pair, metadata), metadata)


def load(path: Path) -> tuple[GanNetworks, GeneratorMetadata, Path]:
    """The networks of a checkpoint on the CPU in evaluation mode, its metadata, and its file.

    Args:
        path: a file that ``save`` wrote, or a run's folder that holds one.

    Raises:
        UsageError: the file is missing, is no generator's checkpoint, or does not fit the networks
            that it names.
    """
    file = checkpoint.locate(path, GENERATOR)
    metadata = read_metadata(file, GENERATOR)
    tensors = read_fitting(file, metadata.arch, lambda: _tensors(GanNetworks(metadata), metadata))
    pair = GanNetworks(metadata)
    for part in _parts(metadata):
        own = {
            name.removeprefix(f"{part}."): value
            for name, value in tensors.items()
            if name.startswith(f"{part}.")
        }
        getattr(pair, part).load_state_dict(own)
    return pair.eval(), metadata, file


def _tensors(pair: GanNetworks, metadata: GeneratorMetadata) -> dict[str, Tensor]:
    """The weights and buffers that a file holds, by part and name."""
    return {
        f"{part}.{name}": value
        for part in _parts(metadata)
        for name, value in getattr(pair, part).state_dict().items()
    }


def _parts(metadata: GeneratorMetadata) -> list[str]:
    return ["generator", "discriminator", *(["average"] if metadata.averaged else [])]
