"""The encoder and the projection head. Only the encoder is used after training."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from advlab.components import component_names, load_component
from advlab.config.model_modules import model_module
from advlab.networks.classifier import Normalize, assemble
from advlab.networks.headless import without_head
from advlab.networks.metadata import EncoderMetadata

ENCODERS = "advlab.contrastive.encoders"


class Contrast(nn.Module):
    """An encoder behind its normalisation, from pixels in [0, 1] to features (N, D), and the
    projection head behind it.

    Attributes:
        encoder: what is saved and evaluated.
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
        self.encoder, features = _encoder(metadata, mean, std)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((features, *metadata.projection)):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings (N, last width of the head) of images (N, C, H, W) in [0, 1]."""
        embedded: Tensor = self.head(self.encoder(images))
        return embedded


def is_classifier(encoder: str) -> bool:
    """Whether the name of an encoder is that of a classifier, whose last layer is taken off."""
    return encoder not in component_names(ENCODERS)


def _encoder(
    metadata: EncoderMetadata, mean: list[float], std: list[float]
) -> tuple[nn.Module, int]:
    """The encoder with fresh weights, and how many features it gives."""
    if not is_classifier(metadata.encoder):
        module = load_component(ENCODERS, metadata.encoder, "encoder")
        layers = Normalize(mean, std), module.build(metadata.shape, metadata.width)
        return nn.Sequential(*layers), module.features(metadata.width)
    architecture = model_module(metadata.encoder).Architecture(**metadata.architecture)
    # The layer that tells the classes apart is taken off: how many there are does not matter.
    classes = max(2, len(metadata.classes))
    network = assemble(metadata.encoder, architecture, metadata.shape, classes, mean, std).eval()
    encoder = without_head(network, metadata.encoder, metadata.shape)
    return encoder, encoder.features
