"""Classifiers as encoders of ``advlab contrast``: their features, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from advlab.cli.main import main
from advlab.contrastive import checkpoint as contrastive_checkpoint
from advlab.errors import UsageError
from advlab.networks.adapter import Adapter
from advlab.networks.headless import without_head

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 6, 3, 2)
        self.last = nn.Linear(6, 5)

    def forward(self, x):
        return self.last(self.conv(x).relu().mean((2, 3))).log_softmax(1)
"""
SMALL = "--batch-size 5 --train-size 10 --epochs 1 --no-supervised --projection 8 4 --device cpu"


class Tokens(nn.Module):
    """The last layer is applied to every token, and the logits are the mean of two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 4, 4)
        self.first = nn.Linear(4, 3)
        self.second = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        logits: Tensor = (self.first(tokens) + self.second(tokens)).mean(1).softmax(1)
        return logits


class Unused(nn.Module):
    """The layer that is defined last does not take part."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(12, 3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.used(x.mean((2, 3)).repeat(1, 4))
        return logits


def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_features_of_a_resnet_are_its_pooled_map() -> None:
    torch.manual_seed(0)
    network = models.resnet18(num_classes=7).eval()
    seen: list[Tensor] = []
    handle = network.avgpool.register_forward_hook(lambda *given: seen.append(given[2]))
    with torch.no_grad():
        network(images())
    handle.remove()
    encoder = without_head(network, "resnet18", (3, 32, 32))
    assert encoder.features == 512
    assert not any("fc" in name for name in encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(encoder(images()), seen[0].flatten(1))


def test_features_before_a_convolution_are_its_inputs_mean() -> None:
    torch.manual_seed(0)
    network = models.squeezenet1_1(num_classes=7).eval()
    with torch.no_grad():
        wanted = network.features(images()).mean((2, 3))
        found = without_head(network, "squeezenet1_1", (3, 32, 32))(images())
    torch.testing.assert_close(found, wanted)


def test_features_of_a_vision_transformer_are_its_class_token() -> None:
    torch.manual_seed(0)
    network = models.VisionTransformer(32, 8, 2, 2, 12, 24, num_classes=5).eval()
    torch.nn.init.normal_(network.heads.head.weight)
    head = network.heads.head
    with torch.no_grad():
        logits = network(images())
        features = without_head(network, "vit", (3, 32, 32))(images())
        torch.testing.assert_close(head(features), logits)


def test_a_layer_that_takes_no_part_is_not_the_last() -> None:
    features = without_head(Unused().eval(), "it", (3, 32, 32))(images())
    torch.testing.assert_close(features, images().mean((2, 3)).repeat(1, 4))


def test_positions_are_averaged_and_what_follows_the_head_is_left_out() -> None:
    """In float64: the features come in the dtype of the images, as the projection head's weights
    do."""
    torch.manual_seed(0)
    network = Tokens().double().eval()
    with torch.no_grad():
        wanted = network.embed(images().double()).mean((2, 3))
    encoder = without_head(Adapter(network), "tokens", (3, 32, 32))
    found = encoder(images())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted.float())
    found.sum().backward()
    assert network.embed.weight.grad is not None


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Flatten(), "has no linear layer or convolution"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4), nn.Unflatten(1, (2, 2)))
            .append(nn.Flatten(0, 1))
            .append(nn.Unflatten(0, (2, 2)))
            .append(nn.Flatten())
            .append(nn.AdaptiveAvgPool1d(3)),
            "gives 4 values, and its logits are 3",
        ),
    ],
)
def test_networks_without_a_head_are_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        without_head(network, "it", (3, 32, 32))


# --- through the front door -----------------------------------------------------------------------
@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with grey images of five classes and a network for them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("advlab.experiments.contrast.run.draw", lambda *given: None)
    drawn = np.random.default_rng(0).integers(0, 256, (50, 12, 12), dtype=np.uint8)
    np.savez("grey.npz", images=drawn, labels=np.arange(50) % 5)
    Path("encoded_net.py").write_text(SOURCE)
    return tmp_path


def contrast(line: str) -> int:
    return main(f"contrast --dataset npz:grey.npz {SMALL} {line}".split())


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed
    return printed


def test_a_run_starts_from_the_weights_given_and_another_goes_on_from_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a learning rate of next to nothing the encoder stays as the function makes it."""
    still = "--lr 1e-30 --weight-decay 0"
    assert contrast(f"--encoder encoded_net.py:Net --name one {still}") == 0
    assert "before SimCLR" in capsys.readouterr().out
    network, metadata = contrastive_checkpoint.load(Path("samples/contrast/one"))
    assert metadata.encoder == "encoded_net.py:Net"
    torch.manual_seed(0)
    torch.testing.assert_close(
        network.encoder.state_dict()["network.1.0.network.conv.weight"],
        nn.Conv2d(1, 6, 3, 2).weight.detach(),
    )
    # A state dict of the whole network, whose last layer is for other classes
    torch.save(
        {
            "conv.weight": torch.ones(6, 1, 3, 3),
            "conv.bias": torch.zeros(6),
            "last.weight": torch.ones(5, 6),
            "last.bias": torch.zeros(5),
        },
        "ones.pt",
    )
    assert contrast(f"--encoder encoded_net.py:Net --weights ones.pt --name two {still}") == 0
    network, _ = contrastive_checkpoint.load(Path("samples/contrast/two"))
    weight = network.encoder.state_dict()["network.1.0.network.conv.weight"]
    torch.testing.assert_close(weight, torch.ones(6, 1, 3, 3))
    assert contrast("--encoder samples/contrast/one --name three") == 2
    assert "--encoder encoded_net.py:Net --weights" in refusal(capsys)
    assert contrast(f"--encoder small --width 2 --name own {still}") == 0
    assert contrast(f"--encoder samples/contrast/own --name further {still}") == 0
    own, further = (
        json.loads(Path(f"samples/contrast/{name}/metrics.json").read_text())
        for name in ("own", "further")
    )
    assert (further["model"], further["width"]) == ("small", 2)
    assert own["weights"] is None
    assert further["weights"] == "samples/contrast/own/encoder.safetensors"
    before, after = (
        contrastive_checkpoint.load(Path(f"samples/contrast/{name}"))[0].encoder.state_dict()
        for name in ("own", "further")
    )
    torch.testing.assert_close(after["1.0.weight"], before["1.0.weight"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--encoder torchvision:resnet81", "did you mean 'resnet18'"),
        ("--encoder renset18", "did you mean 'resnet18'"),
        ("--encoder small --weights x.pt", "--weights: small starts from random weights"),
        ("--encoder small --resize 8", "--resize: small has no such option"),
        ("--encoder cnn --width 8", "--width: cnn has no such option"),
        ("--encoder cnn --weights none.safetensors", "--weights: no file at none.safetensors"),
        ("--encoder none.safetensors", "--encoder: no checkpoint at none.safetensors"),
        ("--encoder encoded_net.py:Nothing", "Nothing"),
    ],
)
def test_what_is_no_encoder_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], line: str, reason: str
) -> None:
    assert contrast(line) == 2
    assert reason in refusal(capsys)


def test_a_file_may_not_name_code(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text("command: contrast\nencoder: encoded_net.py:Net\n")
    assert contrast("--config run.yaml") == 2
    assert "taken from the command line only" in refusal(capsys)
