"""Networks of RobustBench, loaded by the copy of it that torchattacks carries."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import zoo_of

from advlab.cli.main import main
from advlab.config.robustbench import benchmark_of, entry_of
from advlab.errors import EnvironmentFailure, UsageError
from advlab.networks import robustbench

NAME = "Addepalli2021Towards_RN18"


class Small(nn.Module):
    """A small network in the place of one of the zoo, which normalises its images itself."""

    mu: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("mu", torch.full((1, 3, 1, 1), 0.5))
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.conv(x - self.mu)).relu().mean((2, 3))
        logits: Tensor = self.last(features)
        return logits


@pytest.fixture(autouse=True)
def zoo(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The networks of CIFAR-10 and L∞, a small one among them."""
    networks = zoo_of("robustbench:Small", monkeypatch)
    monkeypatch.setitem(networks, "Small", {"model": Small, "gdrive_id": "nowhere"})
    return networks


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images of 32 × 32 pixels in ten classes, and weights of the small network."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    np.savez("colour.npz", images=images, labels=np.arange(60) % 10)
    torch.save({"state_dict": other_weights()}, "small.pt")
    return tmp_path


def other_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.rand(tensor.shape, generator=generator) - 0.5 * ("running" not in name)
        if tensor.dtype == torch.float32 and name != "mu"
        else tensor
        for name, tensor in Small().state_dict().items()
    }


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (f"robustbench:{NAME}", ("cifar10", "Linf", NAME)),
        ("robustbench:imagenet/linf/Wong2020Fast", ("imagenet", "Linf", "Wong2020Fast")),
        ("robustbench:CIFAR10/L2/Standard", ("cifar10", "L2", "Standard")),
    ],
)
def test_a_name_holds_data_set_and_threat_model(text: str, entry: tuple[str, str, str]) -> None:
    assert entry_of(text) == entry


@pytest.mark.parametrize("text", ["robustbench:L2/Standard", "robustbench:cifar10/L1/Standard"])
def test_a_name_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must be robustbench:NAME"):
        benchmark_of(text)


def test_it_gives_the_logits_that_robustbench_gives(zoo: dict[str, Any], tmp_path: Path) -> None:
    load_model = robustbench._imported("robustbench.utils").load_model
    torch.manual_seed(0)
    file = tmp_path / "cifar10/Linf" / f"{NAME}.pt"
    file.parent.mkdir(parents=True)
    torch.save(zoo[NAME]["model"]().state_dict(), file)
    given = robustbench.build(entry_of(f"robustbench:{NAME}"), file)
    expected = load_model(NAME, model_dir=tmp_path, dataset="cifar10", threat_model="Linf")
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(given(images), expected(images))
    assert not given.training


def test_attacks_use_its_norm_and_radius_and_its_weights(place: Path) -> None:
    """Radius and norm are those of the benchmark unless others are given, and the weights those of
    the file."""
    line = "attack fgsm --model robustbench:Small --weights small.pt --dataset npz:colour.npz"
    assert main(f"{line} --name own".split()) == 0
    assert main(f"{line} --name other --eps .1 --norm l2".split()) == 0
    results = {
        name: json.loads((place / f"samples/attack/{name}/metrics.json").read_text())
        for name in ("own", "other")
    }
    network = Small().eval()
    network.load_state_dict(other_weights())
    with np.load("colour.npz") as archive:
        images = torch.from_numpy(archive["images"]).permute(0, 3, 1, 2) / 255
    built = robustbench.build(entry_of("robustbench:Small"), place / "small.pt")
    assert torch.equal(network(images), built(images))
    assert results["own"]["norm"] == "linf"
    assert [row["eps"] for row in results["own"]["points"]] == [8 / 255]
    assert results["other"]["norm"] == "l2"
    assert [row["eps"] for row in results["other"]["points"]] == [0.1]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("robustbench:x", {"dataset": "cifar10", "norm": "linf", "eps": 8 / 255}),
        ("robustbench:cifar10/L2/x", {"dataset": "cifar10", "norm": "l2", "eps": 0.5}),
        ("robustbench:cifar10/corruptions/x", {"dataset": "cifar10"}),
        (
            "robustbench:cifar100/Linf/x",
            {"dataset": "torchvision:CIFAR100", "norm": "linf", "eps": 8 / 255},
        ),
        ("robustbench:imagenet/Linf/x", {"norm": "linf", "eps": 4 / 255}),
        ("timm:resnet18", {}),
        (None, {}),
    ],
)
def test_the_options_of_a_benchmark(text: object, options: dict[str, object]) -> None:
    assert benchmark_of(text) == options


def test_its_preprocessing_of_imagenet_is_read() -> None:
    """The two kinds that this version has: scaled and cropped, and cropped alone."""
    describe = {
        name: robustbench.preprocessing(entry_of(f"robustbench:imagenet/Linf/{name}")).describe()
        for name in ("Salman2020Do_R18", "Wong2020Fast")
    }
    assert describe == {
        "Salman2020Do_R18": "shorter side to 256 (bilinear), middle 224 × 224",
        "Wong2020Fast": "middle 288 × 288",
    }
    assert robustbench.preprocessing(entry_of("robustbench:Small")).describe() == "none"


@pytest.mark.parametrize("missing", ["last.weight", "norm.running_mean", "norm.running_var"])
def test_weights_that_are_missing_in_the_file_are_refused(
    missing: str, zoo: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RobustBench itself goes on without entries for networks that it knows for it."""
    state = other_weights()
    del state["mu"], state[missing]
    torch.save(state, tmp_path / "cut.pt")
    monkeypatch.setitem(zoo, "Wong2020Fast", {"model": Small, "gdrive_id": "nowhere"})
    with pytest.raises(UsageError, match=f"1 of its 8 weights are missing, first {missing}"):
        robustbench.build(entry_of("robustbench:Wong2020Fast"), tmp_path / "cut.pt")


def test_a_file_that_robustbench_does_not_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes some networks of ImageNet from elsewhere, whatever file there is."""
    entry = entry_of("robustbench:imagenet/Linf/Standard_R50")
    networks = robustbench._zoo(entry)
    monkeypatch.setitem(networks, entry.name, {"model": Small, "gdrive_id": ""})
    torch.save(other_weights(), tmp_path / "small.pt")
    with pytest.raises(UsageError, match="does not read this network's weights"):
        robustbench.build(entry, tmp_path / "small.pt")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--model robustbench:Smal --weights small.pt", "did you mean 'Small'?"),
        ("--model robustbench:Small --weights none.pt", "no file at none.pt"),
        (
            "--model robustbench:Small --weights colour.npz",
            "holds no state dict that can be read without running code",
        ),
        ("--model robustbench:cifar10/L3/Small", "must be robustbench:NAME"),
        (
            "--model robustbench:Chen2020Adversarial --weights small.pt",
            "has several files; put its files into",
        ),
    ],
)
def test_what_cannot_be_loaded(
    line: str, reason: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", "fgsm", "--dataset", "npz:colour.npz", *line.split()]) == 2
    assert reason in capsys.readouterr().err


def test_a_download_that_fails_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was left is named, since RobustBench takes it for the whole one."""
    library = robustbench._imported("robustbench.utils")

    def cut_off(identity: str, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise ConnectionError("gone")

    for function in ("download_gdrive", "download_gdrive_new"):  # in older and newer versions
        monkeypatch.setattr(library, function, cut_off, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(place))
    entry = entry_of("robustbench:Small")
    with pytest.raises(EnvironmentFailure, match=r"gone\); remove .*Small\.pt, and it is"):
        robustbench.downloaded(entry)
    file = place / "robustbench/cifar10/Linf/Small.pt"
    torch.save(other_weights(), file)
    weights = robustbench.downloaded(entry).state_dict()
    assert torch.equal(weights["last.weight"], other_weights()["last.weight"])


def test_nothing_is_downloaded_where_that_is_switched_off(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(place))
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")
    line = "attack fgsm --dataset npz:colour.npz --model robustbench:Small"
    assert main(line.split()) == 1
    error = capsys.readouterr().err
    assert "ADVLAB_OFFLINE is set" in error
    assert "'--weights FILE' takes them from a file (Small.pt)" in error
    several = f"{line[: line.index('robustbench:')]}robustbench:Chen2020Adversarial"
    assert main(several.split()) == 1
    error = capsys.readouterr().err
    assert "--weights" not in error
    assert "Chen2020Adversarial.pt_m0.pt, Chen2020Adversarial.pt_m1.pt" in error


def test_networks_of_other_libraries_have_no_file_of_their_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(place))
    entry = entry_of("robustbench:imagenet/Linf/Standard_R50")
    assert robustbench.is_kept(entry)
    assert robustbench.elsewhere(entry) == ""


def test_it_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "robustbench"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "robustbench", None)
    with pytest.raises(EnvironmentFailure, match=r"pip install 'advlab\[robustbench\]'"):
        robustbench.fresh(entry_of("robustbench:Small"))
