"""``advlab inspect``: maps against naive versions and closed forms, and the command through the
front door."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import CLASSES, fitted, write
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from advlab.cli.main import main
from advlab.errors import UsageError
from advlab.inspection import filters, saliency
from advlab.networks import layers
from advlab.plots import filters as sheets
from advlab.results.inspect import FiltersResult, PredictionsResult, SaliencyResult
from advlab.runs import results

NETWORK = "resnet18"

CLASS = torch.tensor([1, 2])


class Tiny(nn.Module):
    """Convolution, mean over the map, linear: where Grad-CAM is known in closed form. Smooth if
    asked, and in float64."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 5, 3, padding=1)
        self.activation = activation
        self.second = nn.Conv2d(5, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        head: Tensor = self.head(self.second(self.activation(self.first(images))).mean((2, 3)))
        return head


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(3)
    return Tiny(nn.Tanh()).double().eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 2, 7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# --- maps -----------------------------------------------------------------------------------------


def test_the_gradient_is_that_of_finite_differences(tiny: Tiny, images: Tensor) -> None:
    found = saliency.gradient(tiny, images, CLASS)
    step = 1e-6
    for place in np.ndindex(*images.shape):
        up, down = images.clone(), images.clone()
        up[place] += step
        down[place] -= step
        of = int(CLASS[place[0]])
        with torch.no_grad():
            slope = (tiny(up)[place[0], of] - tiny(down)[place[0], of]) / (2 * step)
        assert float(found[place]) == pytest.approx(float(slope), abs=1e-8)


def test_looking_leaves_the_network_as_it_was(tiny: Tiny, images: Tensor) -> None:
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    saliency.gradient(tiny, images, CLASS)
    saliency.grad_cam(tiny, tiny.second, images, CLASS)
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in tiny.parameters()
    )
    assert not images.requires_grad
    assert not tiny.second._forward_hooks


def test_smoothgrad_without_noise_is_the_gradient(tiny: Tiny, images: Tensor) -> None:
    smooth = saliency.smoothgrad(
        tiny, images, CLASS, 5, 0.0, torch.Generator().manual_seed(0), batch=2
    )
    assert torch.allclose(smooth, saliency.gradient(tiny, images, CLASS), rtol=0, atol=1e-14)


def test_smoothgrad_is_the_mean_over_noisy_copies(tiny: Tiny, images: Tensor) -> None:
    """Against a loop over one copy at a time, with σ by the paper: a share of each image's own
    range."""
    images = images * torch.tensor([1.0, 0.3], dtype=torch.float64).view(2, 1, 1, 1)
    smooth = saliency.smoothgrad(
        tiny, images, CLASS, 7, 0.2, torch.Generator().manual_seed(5), batch=7
    )
    noise = torch.randn((7, *images.shape), generator=torch.Generator().manual_seed(5)).double()
    total = torch.zeros_like(images)
    for copy in noise:
        for number, image in enumerate(images):
            sigma = 0.2 * (image.max() - image.min())
            total[number] += (
                saliency.gradient(
                    tiny, (image + sigma * copy[number])[None], CLASS[number : number + 1]
                )[0]
                / 7
            )
    assert torch.allclose(smooth, total, rtol=0, atol=1e-14)
    assert not torch.allclose(smooth, saliency.gradient(tiny, images, CLASS), atol=1e-4)


def test_smoothgrad_of_a_quadratic_comes_to_its_gradient() -> None:
    """The gradient of a quadratic is linear, so that noise of mean zero averages out."""

    class Quadratic(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.square().flatten(1).sum(1, keepdim=True).expand(-1, 2)

    image = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = saliency.smoothgrad(
        Quadratic(),
        image,
        torch.tensor([0]),
        20_000,
        0.2,
        torch.Generator().manual_seed(0),
        batch=5000,
    )
    assert torch.allclose(smooth, 2 * image, atol=0.02)


def test_grad_cam_is_cam_where_the_network_ends_in_a_mean(tiny: Tiny, images: Tensor) -> None:
    """There ∂S/∂A_k is w_k / (h w) everywhere, and the map is CAM (arXiv:1512.04150) up to its ReLU
    and that factor."""
    found = saliency.grad_cam(tiny, tiny.second, images, CLASS)
    maps = tiny.second(tiny.activation(tiny.first(images))).detach()
    cam = torch.einsum("nk,nkhw->nhw", tiny.head.weight.detach()[CLASS], maps) / maps[0, 0].numel()
    assert found.shape == (2, 5, 4)
    assert torch.allclose(found, cam.relu(), rtol=0, atol=1e-14)
    assert float(found.max()) > 0
    assert float(cam.min()) < 0  # so that the ReLU has something to do


def test_grad_cam_is_that_of_the_paper_spelled_out(tiny: Tiny, images: Tensor) -> None:
    """At the first layer, whose gradient is no constant: finite differences of the score by every
    entry of every map."""
    found = saliency.grad_cam(tiny, tiny.first, images, CLASS)
    with torch.no_grad():
        maps = tiny.first(images)

        def score(values: Tensor, number: int) -> float:
            return float(
                tiny.head(tiny.second(tiny.activation(values)).mean((2, 3)))[number, CLASS[number]]
            )

        for number in range(2):
            total = torch.zeros(7, 6, dtype=torch.float64)
            for k in range(5):
                slopes = []
                for y, x in np.ndindex(7, 6):
                    up, down = maps.clone(), maps.clone()
                    up[number, k, y, x] += 1e-6
                    down[number, k, y, x] -= 1e-6
                    slopes.append((score(up, number) - score(down, number)) / 2e-6)
                total += sum(slopes) / len(slopes) * maps[number, k]
            assert torch.allclose(found[number], total.clamp_min(0), rtol=0, atol=1e-8)


def test_a_relu_that_overwrites_its_input_does_not_change_what_is_seen(images: Tensor) -> None:
    torch.manual_seed(3)
    plain = Tiny(nn.ReLU()).double().eval()
    overwriting = Tiny(nn.ReLU(inplace=True)).double().eval()
    overwriting.load_state_dict(plain.state_dict())
    one, other = (
        saliency.grad_cam(network, network.first, images, CLASS) for network in (plain, overwriting)
    )
    assert torch.equal(one, other)
    responses = layers.responses(overwriting, overwriting.first, images)
    assert torch.equal(responses, plain.first(images))
    assert float(responses.min()) < 0


def test_grad_cam_needs_a_map(tiny: Tiny, images: Tensor) -> None:
    with pytest.raises(UsageError, match="needs a map"):
        saliency.grad_cam(tiny, tiny.head, images, CLASS)
    with pytest.raises(UsageError, match="runs 0 times"):
        saliency.grad_cam(tiny, nn.Conv2d(1, 1, 1), images, CLASS)


def test_responses_are_what_the_filter_gives_place_by_place(tiny: Tiny, images: Tensor) -> None:
    """Against the sum over the window written out."""
    name, weights, responses = filters.weights_and_responses(tiny, tiny, images, "second")
    assert name == "second"
    inner = tiny.activation(tiny.first(images))
    for n, k, y, x in ((0, 0, 0, 0), (1, 3, 4, 3), (0, 2, 2, 1)):
        window = inner[n, :, y : y + 3, x : x + 3]
        by_hand = (window * weights[k]).sum() + tiny.second.bias[k]  # type: ignore[index]
        assert float(responses[n, k, y, x]) == pytest.approx(by_hand.item(), abs=1e-12)


def test_sheets_take_filters_of_every_shape() -> None:
    random = np.random.default_rng(0)
    for shape in (
        (5, 3, 7, 7),
        (4, 1, 3, 3),
        (6, 8, 3, 3),
        (6, 8, 1, 1),
        (1, 2, 1, 5),
        (3, 3, 3, 3),
    ):
        assert sheets.weights(random.normal(size=shape).astype(np.float32), "t", "c").axes
    assert sheets.weights(np.zeros((2, 1, 3, 3), np.float32), "t", "c").axes
    assert sheets.responses(random.normal(size=(7, 300, 200)).astype(np.float32), "t", "c").axes


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that name a network of torchvision's and a photo."""
    folder = tmp_path_factory.mktemp("pretrained")
    (folder / "names.txt").write_text("\n".join(CLASSES))
    weights, photo = fitted(folder / "fitted.pth", NETWORK), write(folder / "a.png")
    return [
        "--model",
        f"torchvision:{NETWORK}",
        "--weights",
        str(weights),
        "--classes",
        str(folder / "names.txt"),
        "--image",
        str(photo),
    ]


def look(out: Path, line: str, *more: str) -> tuple[Path, dict[str, Any]]:
    assert main(["inspect", *line.split(), *more, "--out", str(out)]) == 0
    (file,) = out.glob("inspect/*/metrics.json")
    return file.parent, json.loads(file.read_text())


def test_predict_without_a_word_of_what(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, metrics = look(
        tmp_path, "--top 3 --image 4", "--checkpoint", str(runs / "train" / "small")
    )
    assert (metrics["component"], metrics["kind"]) == ("predict", "inspect-predictions")
    assert len(metrics["predictions"]) == 3
    assert metrics["truth"] in [str(digit) for digit in range(10)]
    assert metrics["network"]["path"] == str(runs / "train" / "small" / "model.safetensors")
    assert metrics["network"]["trained_on"] == "digits"
    assert metrics["predictions"][0]["probability"] >= metrics["predictions"][1]["probability"]
    assert (folder / "prediction.png").is_file()
    out = capsys.readouterr().out
    look(tmp_path, "--top 3 --image 4", "--checkpoint", str(runs / "train" / "small"))
    again = capsys.readouterr().out
    assert "finished already" in again
    assert [row for row in again.splitlines() if "finished already" not in row] == out.splitlines()


@pytest.mark.painted
def test_predict_of_a_photo(pretrained: list[str], tmp_path: Path) -> None:
    _, metrics = look(tmp_path, "predict", *pretrained)
    assert metrics["predictions"][0]["name"] == "red house"
    assert sum(entry["probability"] for entry in metrics["predictions"]) == pytest.approx(1)
    assert metrics["truth"] is None


def test_a_photo_for_a_network_of_digits(runs: Path, tmp_path: Path) -> None:
    _, metrics = look(
        tmp_path,
        "predict",
        "--image",
        str(write(tmp_path / "a.png")),
        "--checkpoint",
        str(runs / "train" / "other"),
    )
    assert metrics["dataset"] == "photo"
    assert len(metrics["predictions"]) == 5


@pytest.mark.painted
def test_filters_of_a_photo(pretrained: list[str], tmp_path: Path) -> None:
    folder, metrics = look(tmp_path, "filters --layer layer1.0.conv2 --count 9", *pretrained)
    assert (metrics["layer"], metrics["weight_shape"], metrics["response_shape"]) == (
        "layer1.0.conv2",
        [64, 64, 3, 3],
        [64, 56, 56],
    )
    state = torch.load(pretrained[3], weights_only=True)
    written = load_file(folder / "filters.safetensors")
    assert torch.equal(written["weights"], state["layer1.0.conv2.weight"])
    assert written["responses"].shape == (64, 56, 56)
    assert (folder / "filters.png").is_file()
    assert (folder / "responses.png").is_file()


def test_filters_take_the_first_convolution(runs: Path, tmp_path: Path) -> None:
    _, metrics = look(tmp_path, "filters", "--checkpoint", str(runs / "train" / "small"))
    assert (metrics["layer"], metrics["weight_shape"]) == ("0", [8, 1, 3, 3])


@pytest.mark.painted
def test_saliency_of_an_image_and_of_the_same_attacked(runs: Path, tmp_path: Path) -> None:
    folder, metrics = look(
        tmp_path, "saliency --samples 4 --eps 0.3", "--checkpoint", str(runs / "train" / "small")
    )
    assert metrics["fooled"] is True
    assert metrics["clean"]["explained"]["number"] == metrics["clean"]["predictions"][0]["number"]
    assert metrics["eps"] == [0.3]
    written = load_file(folder / "maps.safetensors")
    moved = (written["attacked_image"] - written["clean_image"]).abs().max()
    assert 0 < float(moved) <= 0.3 + 1e-6
    for kind in ("gradient", "smoothgrad"):
        assert written[f"clean_{kind}"].shape == (1, 28, 28)
    assert written["attacked_grad_cam"].shape == (28, 28)
    assert all(
        -1 <= metrics["correlation"][kind] <= 1 for kind in ("gradient", "smoothgrad", "grad_cam")
    )
    assert (folder / "saliency.png").is_file()


def test_saliency_of_a_photo_at_a_block_and_for_a_class(
    pretrained: list[str], tmp_path: Path
) -> None:
    folder, metrics = look(
        tmp_path, "saliency --samples 2 --eps 0 --layer layer4 --explain 3", *pretrained
    )
    assert (metrics["layer"], metrics["clean"]["explained"]["name"]) == ("layer4", "grey road")
    assert (metrics["eps"], metrics["attacked"], metrics["fooled"]) == ([], None, None)
    assert load_file(folder / "maps.safetensors")["clean_grad_cam"].shape == (224, 224)


def test_a_network_without_convolutions_has_gradients(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, metrics = look(
        tmp_path, "saliency --samples 2 --steps 2", "--checkpoint", str(runs / "train" / "other")
    )
    assert metrics["layer"] is None
    assert metrics["correlation"]["grad_cam"] is None
    assert "no Grad-CAM" in capsys.readouterr().out
    assert "clean_grad_cam" not in load_file(folder / "maps.safetensors")


def test_the_same_line_gives_the_same_maps(runs: Path, tmp_path: Path) -> None:
    maps = []
    for _ in range(2):
        folder, _ = look(
            tmp_path,
            "saliency --samples 3 --steps 3 --overwrite",
            "--checkpoint",
            str(runs / "train" / "small"),
        )
        maps.append(load_file(folder / "maps.safetensors"))
    assert all(torch.equal(maps[0][key], maps[1][key]) for key in maps[0])


@pytest.mark.parametrize("line", ["predict", "filters", "saliency --samples 2 --steps 2"])
def test_a_look_that_was_taken_is_reported_alike_and_changes_nothing(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    words = ["--checkpoint", str(runs / "train" / "small")]
    folder, _ = look(tmp_path, line, *words)
    out = capsys.readouterr().out.splitlines()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    look(tmp_path, line, *words)
    again = capsys.readouterr().out.splitlines()
    assert [row for row in again if "finished already" not in row] == out
    assert len(again) == len(out) + 1
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    result = results.read(folder)
    assert isinstance(result, (PredictionsResult, FiltersResult, SaliencyResult))
    assert result.predictions[0].name in result.summary()


def test_another_look_image_or_network_under_the_same_name_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tmp_path / "network.safetensors"
    photo = write(tmp_path / "a.png")

    def sha256(run: Path) -> str:
        return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()[:12]

    def put(run: str) -> None:
        network.write_bytes((runs / "train" / run / "model.safetensors").read_bytes())

    def refused(what: str) -> str:
        assert main(["inspect", what, *words]) == 2
        (refusal,) = capsys.readouterr().err.splitlines()
        return refusal

    words = ["--checkpoint", str(network), "--image", str(photo), "--name", "a"]
    words += ["--out", str(tmp_path / "out")]
    put("small")
    folder, _ = look(tmp_path / "out", "predict", *words[:-2])
    for finished in (True, False):
        if not finished:
            (folder / "metrics.json").unlink()
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert "component predict there, filters here" in refused("filters")
        write(photo, kind=2)
        assert "holds another run (data " in refused("predict")
        write(photo)
        put("other")
        refusal = refused("predict")
        assert "holds another run" in refusal
        assert (
            f"network {sha256(runs / 'train' / 'small')} there, "
            f"{sha256(runs / 'train' / 'other')} here" in refusal
        )
        put("small")
        assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert main(["inspect", "predict", *words]) == 0


REFUSED = [
    ("filters --layer layer1.0.conv9", "did you mean 'layer1.0.conv2'"),
    ("filters --layer bn1", "is no convolution, but BatchNorm2d"),
    ("saliency --layer nowhere", "no such layer"),
    ("saliency --layer fc --samples 1 --eps 0", "needs a map"),
    ("saliency --explain purple --samples 1 --eps 0", "--explain purple: no such class"),
    ("saliency --target 0", "takes the image for red house already"),
    ("saliency --eps 3", "above 1"),
    ("predict --dataset digits", "--dataset digits"),
    ("predict --top 0", "at least 1"),
    ("predictt", "did you mean 'predict'"),
]


@pytest.mark.parametrize(("line", "words"), REFUSED, ids=[line for line, _ in REFUSED])
def test_what_is_not_there_is_refused_in_a_line(
    pretrained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    assert main(["inspect", *line.split(), *pretrained, "--out", str(tmp_path)]) == 2
    (refusal,) = capsys.readouterr().err.splitlines()
    assert words in refusal
    assert not list(tmp_path.glob("inspect/*")) or "needs a map" in words, (
        "refused before anything is made"
    )


def test_what_networks_of_ours_do_not_have_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line, words in (
        (["filters", "--checkpoint", str(runs / "train" / "other")], "no convolution"),
        (["--image", "99999", "--checkpoint", str(runs / "train" / "small")], "numbered 0 to 359"),
        (["--image", "4", "--model", f"torchvision:{NETWORK}"], "must name a photo"),
        (
            [
                "--image",
                str(tmp_path / "absent.png"),
                "--checkpoint",
                str(runs / "train" / "small"),
            ],
            "no such file",
        ),
        (
            ["--weights", "w.pth", "--checkpoint", str(runs / "train" / "small")],
            "--weights: goes with",
        ),
    ):
        assert main(["inspect", *line, "--out", str(tmp_path)]) == 2
        (refusal,) = capsys.readouterr().err.splitlines()
        assert words in refusal


# --- where the channels lie -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("swin_t", "features.7", (7, 7)),
        ("swin_t", "features.1.0.mlp.1", (56, 56)),
        ("swin_t", "permute", (7, 7)),
        ("convnext_tiny", "features.7", (7, 7)),
        ("convnext_tiny", "features.7.0.block.3", (7, 7)),
        ("resnet18", "layer4", (7, 7)),
    ],
)
def test_grad_cam_of_maps_whose_channels_lie_last(
    name: str, layer: str, shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    body = models.get_model(name, weights=None, num_classes=3).eval()
    found = saliency.grad_cam(
        body, body.get_submodule(layer), torch.rand(2, 3, 224, 224), torch.tensor([0, 2])
    )
    assert found.shape == (2, *shape)


def test_grad_cam_of_swin_is_the_same_before_and_after_its_permutation() -> None:
    """What lies between is a permutation alone, so the map is one and the same, in whichever order
    its axes are."""
    torch.manual_seed(0)
    body = models.swin_t(weights=None, num_classes=3).eval()
    photo, of = torch.rand(1, 3, 64, 96), torch.tensor([1])
    one, other = (
        saliency.grad_cam(body, body.get_submodule(layer), photo, of)
        for layer in ("norm", "permute")
    )
    assert one.shape == (1, 2, 3)
    assert torch.equal(one, other)


class Tokens(nn.Module):
    """A small vision transformer without attention: patches, a class token, a mixing layer, and a
    classifier of the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 6, 4, 4)
        self.first = nn.Identity()
        self.last = nn.Identity()
        self.head = nn.Linear(6, 3)
        self.weights = torch.rand(16)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = self.first(torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1))
        mixed = (self.weights[:, None] * tokens[:, 1:]).sum(1, keepdim=True)
        logits: Tensor = self.head(self.last(torch.cat([mixed, tokens[:, 1:]], 1))[:, 0])
        return logits


def test_grad_cam_of_tokens_leaves_the_class_token_out() -> None:
    torch.manual_seed(0)
    network, images = Tokens().eval(), torch.rand(2, 1, 16, 16)
    found = saliency.grad_cam(network, network.first, images, torch.tensor([0, 2]))
    patches = network.patches(images).detach()  # (2, 6, 4, 4)
    for image, number in ((0, 0), (1, 2)):
        slope = network.weights.mean() * network.head.weight[number].detach()
        expected = (slope[:, None, None] * patches[image]).sum(0).relu()
        torch.testing.assert_close(found[image], expected)
    with torch.no_grad():
        network.head.weight[1] = 0
    with pytest.raises(UsageError, match="has a gradient of zero in this layer"):
        saliency.grad_cam(network, network.first, images[:1], torch.tensor([1]))
    with pytest.raises(UsageError, match="depends on the class token alone"):
        saliency.grad_cam(network, network.last, images, torch.tensor([0, 2]))


def test_tokens_that_make_no_square_are_no_map() -> None:
    network = nn.Sequential(nn.Conv2d(1, 7, 1), nn.Flatten(2), nn.Flatten(), nn.Linear(7 * 24, 3))
    with pytest.raises(UsageError, match="Grad-CAM needs a map"):
        saliency.grad_cam(network, network[1], torch.rand(1, 1, 4, 6), torch.tensor([0]))
