"""From networks to a file and back."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from advlab.contrastive.metadata import FILE, KEY, Card, read_card
from advlab.contrastive.networks import Contrast
from advlab.errors import UserError
from advlab.input_files import is_plain
from advlab.networks import checkpoint
from advlab.networks.weights import read_fitting
from advlab.runs.files import write_atomically


def save(path: Path, network: Contrast, card: Card) -> None:
    """Write encoder, head and card to ``path``, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    content = to_bytes(tensors_of(network), metadata={KEY: card.model_dump_json()})
    write_atomically(path, lambda file: file.write(content))


def load(path: Path) -> tuple[Contrast, Card]:
    """The networks of a checkpoint, on the CPU and in evaluation mode, and its card.

    Args:
        path: a file that ``save`` wrote, or a run's folder that holds one.

    Raises:
        UserError: the file is missing, is no encoder's checkpoint, or does not fit the networks
            that it names.
    """
    file = path / FILE if path.is_dir() else path
    if not is_plain(file):
        raise UserError(
            f"no encoder at {path}" + (f": the folder holds no {FILE}" if path.is_dir() else "")
        )
    checkpoint.check_hash(file)
    card = read_card(file)
    # Statistics and weights both come from the file; the zeros only give the buffers their shape.
    statistics = [0.0] * card.shape[0], [1.0] * card.shape[0]
    state = read_fitting(file, card.encoder, lambda: Contrast(card, *statistics).state_dict())
    network = Contrast(card, *statistics)
    network.load_state_dict(state)
    return network.eval(), card


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers as safetensors takes them."""
    return {
        name: value.detach().cpu().contiguous().clone()
        for name, value in network.state_dict().items()
    }
