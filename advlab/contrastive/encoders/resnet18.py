"""ResNet-18 without its last layer, of any width, with a stem for small images.

He et al. 2015, arXiv:1512.03385.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

WIDTH = 64
SMALL = 64
"""Images with a shorter side than this get a 3×3 stem that keeps their size (SimCLR,
arXiv:2002.05709, appendix B.9)."""


class ResNet18(nn.Module):
    """Images (N, C, H, W), normalised, to features (N, 8 · width).

    At width 64 on large images these are torchvision's ``resnet18`` up to its ``fc``, layer for
    layer under the same names.
    """

    def __init__(self, channels: int, side: int, width: int) -> None:
        """Fresh weights from torch's global generator."""
        super().__init__()
        small = side < SMALL
        self.conv1 = nn.Conv2d(
            channels, width, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.layer4 = _stage(4 * width, 8 * width, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """The mean over the picture of what the last block sees."""
        hidden = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        hidden = self.layer4(self.layer3(self.layer2(self.layer1(hidden))))
        pooled: Tensor = hidden.mean(dim=(2, 3))
        return pooled


def build(shape: tuple[int, int, int], width: int) -> nn.Module:
    """The encoder of images of this shape, and of ``features(width)`` features."""
    channels, height, across = shape
    return ResNet18(channels, min(height, across), width)


def features(width: int) -> int:
    """How many features it has."""
    return 8 * width


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs)
    )
