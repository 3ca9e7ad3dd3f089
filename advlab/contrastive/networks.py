"""The encoder and the projection head. Only the encoder is used after training."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from advlab.components import load_component
from advlab.networks.classifier import Normalize
from advlab.networks.metadata import EncoderMetadata


class Contrast(nn.Module):
    """An encoder behind its normalisation, from pixels in [0, 1] to features (N, D), and the
    projection head behind it.

    Attributes:
        encoder: what is kept, and judged.
        head: linear layers with ReLU between them, from features to what NT-Xent compares.
    """

    def __init__(self, metadata: EncoderMetadata, mean: list[float], std: list[float]) -> None:
        """Fresh weights from torch's global generator.

        Args:
            mean: of each channel of the training images, in [0, 1].
            std: their standard deviations.

        Raises:
            UsageError: there is no such encoder, or it cannot take images of this shape.
        """
        super().__init__()
        module = load_component("advlab.contrastive.encoders", metadata.encoder, "encoder")
        self.encoder = nn.Sequential(
            Normalize(mean, std), module.build(metadata.shape, metadata.width)
        )
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((module.features(metadata.width), *metadata.projection)):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings (N, last width of the head) of images (N, C, H, W) in [0, 1]."""
        embedded: Tensor = self.head(self.encoder(images))
        return embedded
