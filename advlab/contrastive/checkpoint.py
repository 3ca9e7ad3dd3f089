"""Checkpoints of encoders: encoder and projection head in one file."""

from __future__ import annotations

from pathlib import Path

from advlab.config.model_modules import is_referenced
from advlab.contrastive.networks import Contrast
from advlab.networks import checkpoint
from advlab.networks.metadata import ENCODER, EncoderMetadata, read_metadata
from advlab.networks.weights import read_fitting

FILE = ENCODER.file


def load(path: Path) -> tuple[Contrast, EncoderMetadata]:
    """The networks of a checkpoint, on the CPU and in evaluation mode, and its metadata.

    Args:
        path: a file that ``advlab contrast`` wrote, or a run's folder that holds one.

    Raises:
        UsageError: the file is missing, is no encoder's checkpoint, or does not fit the networks
            that it names.
    """
    file = checkpoint.locate(path, ENCODER)
    metadata = read_metadata(file, ENCODER)
    # The statistics of the data are buffers and come from the file, as the weights do.
    statistics = [0.0] * metadata.shape[0], [1.0] * metadata.shape[0]
    if is_referenced(metadata.encoder):  # others than ours may need real numbers as they are built
        network = Contrast(metadata, *statistics)
        state = read_fitting(file, metadata.encoder, network.state_dict)
    else:
        state = read_fitting(
            file, metadata.encoder, lambda: Contrast(metadata, *statistics).state_dict()
        )
        network = Contrast(metadata, *statistics)
    network.load_state_dict(state)
    return network.eval(), metadata
