"""Gaussians of the classes' features with one covariance, and the detector made of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advlab.evaluation.detection import Detector, precise


def gaussians(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The means of the classes, and a matrix that whitens their common covariance.

    Directions in which the features vary less than float32 can tell, such as those of units that
    are never active, are left out, as the pseudo-inverse of the covariance leaves them out.

    Args:
        features: (N, D).
        labels: int64 (N,); classes without an image have no mean.

    Returns:
        Means, float64 (classes, D), and W, float64 (R, D), R ≤ D: |W (x − mean)|² is the squared
        Mahalanobis distance.
    """
    x = features.double()
    classes = labels.unique()
    means = torch.stack([x[labels == one].mean(dim=0) for one in classes])
    centred = x - means[torch.searchsorted(classes, labels)]
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    varying = values > values[-1] * len(values) * torch.finfo(torch.float32).eps
    return means, (vectors[:, varying] / values[varying].sqrt()).T


class Mahalanobis(Detector):
    """The squared Mahalanobis distance to the nearest class."""

    means: Tensor
    whitening: Tensor

    def __init__(
        self, network: nn.Module, encoder: nn.Module, means: Tensor, whitening: Tensor
    ) -> None:
        """Guard ``network``.

        Args:
            encoder: from images (N, C, H, W) in [0, 1] to features (N, D).
            means: of the classes, float64 (classes, D).
            whitening: float64 (R, D); see ``gaussians``.
        """
        super().__init__()
        self.network, self.encoder = network, encoder
        self.register_buffer("means", means)
        self.register_buffer("whitening", whitening)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and scores."""
        features = precise(self.encoder(images)) @ self.whitening.T
        means = self.means @ self.whitening.T
        distances = (features[:, None] - means[None]).square().sum(dim=2)
        return self.network(images), distances.amin(dim=1)

    def settings(self) -> dict[str, object]:
        """How many features there are, and in how many directions they vary."""
        rank, features = self.whitening.shape
        return {"features": features, "directions": rank}
