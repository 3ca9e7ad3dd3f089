"""From networks to a file and back."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from advlab.contrastive._card import FILE, KEY, Card, read_card
from advlab.contrastive._network import Contrast
from advlab.errors import UserError
from advlab.input_files import is_plain
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
        UserError: the file is missing, is no encoder's checkpoint, or does not fit the networks that it names.
    """
    file = path / FILE if path.is_dir() else path
    if not is_plain(file):
        raise UserError(f"no encoder at {path}" + (f": the folder holds no {FILE}" if path.is_dir() else ""))
    card = read_card(file)
    channels = card.shape[0]
    try:
        # Statistics and weights both come from the file; the zeros only give the buffers their shape.
        network = Contrast(card, [0.0] * channels, [1.0] * channels)
        with safe_open(file, framework="pt") as content:
            network.load_state_dict({name: content.get_tensor(name) for name in content.keys()})  # noqa: SIM118
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise UserError(f"{file}: its weights do not fit the {card.encoder} that it names: {reason}") from error
    return network.eval(), card


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers as safetensors takes them."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
