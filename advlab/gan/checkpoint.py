"""Checkpoints of generators: both networks as safetensors, with their card. Data, never code."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save as to_bytes
from torch import Tensor

from advlab.errors import UserError
from advlab.gan.metadata import FILE, KEY, Card, read_card
from advlab.gan.networks import Pair
from advlab.input_files import is_plain
from advlab.networks import checkpoint
from advlab.networks.weights import read_fitting
from advlab.runs.files import write_atomically


def save(path: Path, pair: Pair, card: Card) -> None:
    """Write both networks and the card to ``path``, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in _tensors(pair, card).items()
    }
    content = to_bytes(tensors, metadata={KEY: card.model_dump_json()})
    write_atomically(path, lambda file: file.write(content))


def load(path: Path) -> tuple[Pair, Card, Path]:
    """The pair of a checkpoint, on the CPU and in evaluation mode, its card, and the file it came
    from.

    Raises:
        UserError: the file is missing, is no generator's checkpoint, or does not fit the networks
            that it names.
    """
    file = path / FILE if path.is_dir() else path
    if not is_plain(file):
        classifier = path.is_dir() and (path / checkpoint.FILE).is_file()
        there = (
            f": {checkpoint.FILE} in it is a classifier"
            if classifier
            else f": the folder holds no {FILE}"
            if path.is_dir()
            else ""
        )
        raise UserError(f"no generator at {path}{there}")
    checkpoint.check_hash(file)
    card = read_card(file)
    tensors = read_fitting(file, card.arch, lambda: _tensors(Pair(card), card))
    pair = Pair(card)
    for part in _parts(card):
        own = {
            name.removeprefix(f"{part}."): value
            for name, value in tensors.items()
            if name.startswith(f"{part}.")
        }
        getattr(pair, part).load_state_dict(own)
    return pair.eval(), card, file


def _tensors(pair: Pair, card: Card) -> dict[str, Tensor]:
    """The weights and buffers that a file holds, by part and name."""
    return {
        f"{part}.{name}": value
        for part in _parts(card)
        for name, value in getattr(pair, part).state_dict().items()
    }


def _parts(card: Card) -> list[str]:
    return ["generator", "discriminator", *(["average"] if card.averaged else [])]
