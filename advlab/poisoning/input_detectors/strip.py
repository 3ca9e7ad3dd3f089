"""STRIP: a trigger decides the prediction whatever other image is laid over the input.

Gao et al. 2019, arXiv:1902.06531.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.data.image_set import Images
    from advlab.poisoning.screening import InputEvidence

_OVERLAYS = 100  # N of the paper, or as many as there are
_AT_A_TIME = 5000  # images in float32 at once


def suspicion(evidence: InputEvidence, images: Images) -> Tensor:
    """Minus the entropy (bits) of the predictions, averaged over sums of an image and clean images:
    (N,).

    Sums are clipped to [0, 1]. The clean images are drawn for each image, without replacement.
    """
    import torch

    random = torch.Generator().manual_seed(evidence.seed)
    clean = evidence.clean.inputs(slice(None))
    count = min(_OVERLAYS, len(clean))
    scores = []
    for rows in torch.arange(len(images)).split(max(1, _AT_A_TIME // count)):
        drawn = torch.stack(
            [torch.randperm(len(clean), generator=random)[:count] for _ in rows.tolist()]
        )
        sums = (images.inputs(rows)[:, None] + clean[drawn]).clamp(0, 1)
        probabilities = evidence.logits(sums.flatten(0, 1)).double().softmax(dim=1)
        entropy = -torch.xlogy(probabilities, probabilities).sum(dim=1) / torch.log(
            torch.tensor(2.0, dtype=torch.float64)
        )
        scores.append(-entropy.view(len(rows), count).mean(dim=1))
    return torch.cat(scores)
