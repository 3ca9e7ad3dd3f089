"""A map of the latent space: z in two dimensions, with the images drawn at their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from advlab.config.base import Flag
from advlab.config.options.gan import GeneratorOptions

if TYPE_CHECKING:
    from torch import Tensor


class Options(GeneratorOptions):
    """Map z in two dimensions (PCA) with the images at their places; beside it, the same images by what they show."""

    count: Annotated[int, Field(ge=10, le=20_000, description="how many z"), Flag(group="pictures")] = 1000
    drawn: Annotated[int, Field(ge=1, le=2000, description="how many of them as images, spread over the map"), Flag(group="pictures")] = 100


def plane(points: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """The first two principal components of points (N, D): places (N, 2), and the share of the variance that each explains."""
    import torch
    from sklearn.decomposition import PCA

    if not points.var(dim=0).any():  # all in one place
        return torch.zeros(len(points), 2), (0.0, 0.0)
    if points.shape[1] == 1:  # there is no second one
        return torch.cat([points, torch.zeros_like(points)], dim=1), (1.0, 0.0)
    pca = PCA(2, svd_solver="full")
    places = torch.from_numpy(pca.fit_transform(points.double().numpy()))
    first, second = pca.explained_variance_ratio_.tolist()
    return places, (first, second)


def spread_out(places: Tensor, count: int) -> Tensor:
    """Numbers of at most ``count`` places (N, 2) that lie far from each other: each one the farthest from all before it."""
    import torch

    chosen = [int(places.square().sum(dim=1).argmin())]
    nearest = (places - places[chosen[0]]).norm(dim=1)
    while len(chosen) < min(count, len(places)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (places - places[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)
