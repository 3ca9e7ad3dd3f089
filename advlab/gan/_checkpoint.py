"""Checkpoints of generators: both networks as safetensors, with their card. Data, never code."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from advlab.errors import UserError
from advlab.gan._card import FILE, KEY, Card, read_card
from advlab.gan._pair import Pair, needed
from advlab.input_files import is_plain
from advlab.runs.files import write_atomically
from advlab.training import checkpoint


def save(path: Path, pair: Pair, card: Card) -> None:
    """Write both networks and the card to ``path``, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous().clone()
        for part in _parts(card)
        for name, value in getattr(pair, part).state_dict().items()
    }
    content = to_bytes(tensors, metadata={KEY: card.model_dump_json()})
    write_atomically(path, lambda file: file.write(content))


def load(path: Path) -> tuple[Pair, Card, Path]:
    """The pair of a checkpoint, on the CPU and in evaluation mode, its card, and the file it came from.

    Raises:
        UserError: the file is missing, is no generator's checkpoint, or does not fit the networks that it names.
    """
    file = path / FILE if path.is_dir() else path
    if not is_plain(file):
        classifier = path.is_dir() and (path / checkpoint.FILE).is_file()
        there = f": {checkpoint.FILE} in it is a classifier" if classifier else f": the folder holds no {FILE}" if path.is_dir() else ""
        raise UserError(f"no generator at {path}{there}")
    card = read_card(file)
    try:
        # What a card claims is believed only as far as the file is long.
        if 4 * needed(card, 1)[1] > 2 * file.stat().st_size + 1e6:
            raise RuntimeError("the file is too short for them")
        pair = Pair(card)
        with safe_open(file, framework="pt") as content:
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        for part in _parts(card):
            own = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
            getattr(pair, part).load_state_dict(own)
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise UserError(f"{file}: its weights do not fit the {card.arch} that it names: {reason}") from error
    return pair.eval(), card, file


def _parts(card: Card) -> list[str]:
    return ["generator", "discriminator", *(["average"] if card.averaged else [])]
