"""FID on the features of torchvision's Inception v3, with weights from a file.

Its figures compare with each other. They are not those of papers, whose Inception is an older one
with other weights; and of digits, that network has never seen any.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from advlab.errors import UsageError
from advlab.input_files import is_plain
from advlab.networks.weights import UnreadableError, check_values, read_plain
from advlab.progress import progress_bar

_SIDE = 299


class Inception:
    """Images to its last hidden layer, 2,048 numbers each.

    Attributes:
        sha256: hash of the weights' file.
    """

    def __init__(self, file: Path, device: torch.device) -> None:
        """From a state dict, ``.safetensors`` or ``.pth``, with or without the auxiliary
        classifier.

        Raises:
            UsageError: the file is missing, or holds something else.
        """
        from torchvision.models import inception_v3

        if not is_plain(file):
            raise UsageError(
                f"--inception: no file at {file}; torchvision's Inception v3 weights go there"
            )
        try:
            state = read_plain(file)
            network = inception_v3(
                weights=None, aux_logits=False, init_weights=False, transform_input=False
            )
            network.load_state_dict(
                {key: value for key, value in state.items() if not key.startswith("AuxLogits.")}
            )
        except (UnreadableError, RuntimeError, AttributeError, TypeError) as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
            raise UsageError(
                f"--inception: {file} does not hold weights of torchvision's Inception v3: {reason}"
            ) from error
        check_values(network.state_dict(), f"--inception: {file}")
        network.fc = nn.Identity()
        self._network, self._device = network.eval().to(device), device
        self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, batch: int = 50) -> Tensor:
        """Features (N, 2048) of images, uint8 (N, C, H, W) with one channel or three."""
        parts = []
        with progress_bar(len(pixels), "Inception", "images") as bar:
            for part in pixels.split(batch):
                images = part.to(self._device).float() / 127.5 - 1
                images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
                enlarged = interpolate(
                    images, (_SIDE, _SIDE), mode="bilinear", align_corners=False, antialias=True
                )
                parts.append(self._network(enlarged).cpu())
                bar.update(len(part))
        return torch.cat(parts)
