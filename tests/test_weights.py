"""Weights from files: what no training can have left, what does not fit, and what is not what the
run beside it made."""

from __future__ import annotations

import json
import pickle
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torchvision import models

from advlab.cli.main import main
from advlab.contrastive import checkpoint as encoders
from advlab.contrastive.networks import Contrast
from advlab.errors import EnvironmentFailure, UsageError
from advlab.gan import checkpoint as generators
from advlab.gan.inception import Inception
from advlab.gan.networks import GanNetworks
from advlab.models import mlp, nbow
from advlab.networks import checkpoint, text
from advlab.networks.classifier import assemble
from advlab.networks.metadata import (
    KINDS,
    EncoderMetadata,
    GeneratorMetadata,
    ImageClassifierMetadata,
    TextClassifierMetadata,
    read_metadata,
)
from advlab.networks.weights import check_numbers, fitting_names, read_state
from advlab.training.state import restore

DIGITS = tuple("0123456789")
SHAPE = (1, 28, 28)


def classifier(path: Path, claimed_width: int = 16) -> None:
    """An untrained network, whose card may claim another width."""
    architecture = mlp.Architecture(width=16)
    network = assemble("mlp", architecture, SHAPE, 10, [0.3], [0.3])
    card = ImageClassifierMetadata(
        model="mlp",
        architecture={"width": claimed_width},
        shape=SHAPE,
        classes=DIGITS,
        dataset="digits",
        data={},
    )
    checkpoint.save(path, network, card)


def generator(path: Path, claimed_width: int = 8) -> None:
    card = GeneratorMetadata(
        arch="dcgan",
        zdim=4,
        width=8,
        critic_norm="spectral",
        packing=1,
        loss="hinge",
        averaged=True,
        shape=SHAPE,
        classes=DIGITS,
        dataset="digits",
    )
    generators.save(path, GanNetworks(card), card.model_copy(update={"width": claimed_width}))


def encoder(path: Path, claimed_width: int = 4) -> None:
    card = EncoderMetadata(
        encoder="small", width=4, projection=(8, 4), shape=SHAPE, classes=DIGITS, dataset="digits"
    )
    network = Contrast(card, [0.3], [0.3])
    checkpoint.save(path, network, card.model_copy(update={"width": claimed_width}))


def reader(path: Path, claimed_words: int = 3) -> None:
    network = text.assemble("nbow", nbow.Architecture(), 5, 2)
    card = TextClassifierMetadata(
        model="nbow",
        architecture={},
        words=tuple(f"w{number}" for number in range(claimed_words)),
        max_words=10,
        classes=("neg", "pos"),
        dataset="csv:a",
    )
    checkpoint.save(path, network, card)


def changed(path: Path, change: Callable[[dict[str, torch.Tensor]], str]) -> str:
    """Change the tensors of a file in place, its card kept; the name that ``change`` returns."""
    with safe_open(path, framework="pt") as content:
        card = content.metadata()
        state = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    name = change(state)
    save_file(state, path, card)
    return name


def with_nan(state: dict[str, torch.Tensor]) -> str:
    name = next(
        name for name, value in state.items() if value.is_floating_point() and value.ndim > 1
    )
    state[name].flatten()[-1] = float("nan")
    return name


def without_one(state: dict[str, torch.Tensor]) -> str:
    name = next(iter(state))
    del state[name]
    return name


def with_one_more(state: dict[str, torch.Tensor]) -> str:
    state["more"] = torch.zeros(1)
    return "more"


def peak_memory() -> float:
    """The most memory that this process has held so far, in MB."""
    unit = 1024 if sys.platform == "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit / 1000


def refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(line) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def attack(file: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    return refused(
        ["attack", "fgsm", "--checkpoint", str(file), "--limit", "5", "--out", str(out)], capsys
    )


VALUES: list[tuple[str, float, str]] = [
    ("1.1.weight", float("nan"), "holds NaN"),
    ("1.1.weight", float("-inf"), "holds an infinite value"),
    ("0.std", 0.0, "holds 0; pixels in [0, 1] deviate by more than 0"),
    ("0.std", -0.3, "holds -0.3"),
    ("0.std", 1e20, "holds 1e+20"),
    ("0.mean", -4.0, "holds -4; the mean of pixels in [0, 1] lies between 0 and 1"),
    ("0.mean", 130.0, "holds 130"),
    ("1.2.running_var", -1.0, "holds -1, and a variance is at least 0"),
]


@pytest.mark.parametrize(("name", "value", "said"), VALUES)
def test_values_that_no_training_leaves_are_refused(
    name: str, value: float, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.safetensors"
    classifier(file)

    def change(state: dict[str, torch.Tensor]) -> str:
        state[name].flatten()[0] = value
        return name

    changed(file, change)
    message = attack(file, tmp_path, capsys)
    assert f"--checkpoint: {file}: {name} {said}" in message
    assert not (tmp_path / "attack").exists()


def test_sound_weights_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    classifier(file)
    assert (
        main(["attack", "fgsm", "--checkpoint", str(file), "--limit", "5", "--out", str(tmp_path)])
        == 0
    )


LOADERS: list[tuple[Callable[..., None], Callable[[Path], object]]] = [
    (classifier, checkpoint.load),
    (generator, generators.load),
    (encoder, encoders.load),
    (reader, checkpoint.load_text_classifier),
]


ORDER = (0, 2, 3, 1)
"""The kind that each of ``LOADERS`` is of."""


def test_no_kind_of_checkpoint_passes_for_another(tmp_path: Path) -> None:
    """The refusal names what the file is, which command wrote it, and what is needed."""
    assert sorted(ORDER) == list(range(len(KINDS)))
    for number, (write, _) in enumerate(LOADERS):
        write(tmp_path / f"{number}.safetensors")
    for number, _ in enumerate(LOADERS):
        file = tmp_path / f"{number}.safetensors"
        own = KINDS[ORDER[number]]
        read_metadata(file, own)
        for other in KINDS:
            if other is not own:
                words = f"{file} is {own.noun}, written by '{own.command}'; {other.noun} is needed"
                with pytest.raises(UsageError, match=re.escape(words)):
                    read_metadata(file, other)


@pytest.mark.parametrize(
    ("write", "load"), LOADERS, ids=["classifier", "generator", "encoder", "texts"]
)
def test_every_kind_of_checkpoint_is_checked(
    write: Callable[..., None], load: Callable[[Path], object], tmp_path: Path
) -> None:
    file = tmp_path / "a.safetensors"
    write(file)
    load(file)
    name = changed(file, with_nan)
    with pytest.raises(UsageError, match=rf"a\.safetensors: {name} holds NaN"):
        load(file)
    write(file)
    name = changed(file, without_one)
    with pytest.raises(
        UsageError, match=rf"a\.safetensors: its weights do not fit .* names: {name} is missing"
    ):
        load(file)
    write(file)
    changed(file, with_one_more)
    with pytest.raises(UsageError, match="more is no part of that network"):
        load(file)
    write(file, 512)
    before = peak_memory()
    with pytest.raises(UsageError, match=r"has the shape .* in the file, and .* in that network"):
        load(file)
    assert peak_memory() - before < 300


def test_a_small_file_takes_no_large_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its card claims two layers of 32,768 units: 4 GB of weights, of which the file holds none."""
    file = tmp_path / "a.safetensors"
    classifier(file, claimed_width=32_768)
    before = peak_memory()
    assert "1.1.weight has the shape 16 × 784 in the file, and 32768 × 784" in attack(
        file, tmp_path, capsys
    )
    assert peak_memory() - before < 500


def test_a_generator_with_nan_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.safetensors"
    generator(file)
    name = changed(file, with_nan)
    message = refused(["gan", "sample", "--generator", str(file), "--out", str(tmp_path)], capsys)
    assert f"{file}: {name} holds NaN" in message


def test_weights_for_torchvision_with_a_negative_variance_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = models.resnet18(weights=None, num_classes=3).state_dict()
    state["bn1.running_var"][0] = -1
    torch.save(state, tmp_path / "w.pth")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    words = [
        "inspect",
        "predict",
        "--model",
        "torchvision:resnet18",
        "--weights",
        str(tmp_path / "w.pth"),
    ]
    message = refused([*words, "--image", str(tmp_path / "a.png"), "--out", str(tmp_path)], capsys)
    assert (
        f"--weights: {tmp_path / 'w.pth'}: bn1.running_var holds -1, and a variance is at least 0"
        in message
    )


# --- a finished run's network ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("model.safetensors", classifier),
        ("generator.safetensors", generator),
        ("encoder.safetensors", encoder),
    ],
)
def test_a_flipped_bit_beside_a_finished_run_is_found(
    name: str, write: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run" / name
    file.parent.mkdir()
    write(file)
    loaders: dict[str, Callable[[Path], object]] = {
        "model": checkpoint.load,
        "generator": generators.load,
        "encoder": encoders.load,
    }
    load = loaders[file.stem]
    recorded = checkpoint.sha256(file)
    (file.parent / "metrics.json").write_text(json.dumps({"checkpoint_sha256": recorded}))
    load(file.parent)
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    now = checkpoint.sha256(file)
    with pytest.raises(UsageError) as caught:
        load(file.parent)
    message = str(caught.value)
    assert (
        f"{file} is not the network of the run there: sha256 {recorded[:12]}… in metrics.json"
        in message
    )
    assert f"{now[:12]}… of the file" in message
    assert "--overwrite" in message
    (tmp_path / "elsewhere").mkdir()
    load(file.rename(tmp_path / "elsewhere" / name))
    if name == "model.safetensors":
        file.write_bytes(content)
        assert "is not the network of the run there" in attack(file.parent, tmp_path, capsys)


def test_a_run_whose_result_cannot_be_read_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier(tmp_path / "model.safetensors")
    (tmp_path / "metrics.json").write_text('{"checkpoint_sha')
    assert (
        main(["attack", "fgsm", "--checkpoint", str(tmp_path), "--out", str(tmp_path / "o")]) == 1
    )
    error = capsys.readouterr().err
    assert f"{tmp_path / 'metrics.json'} cannot be read" in error
    assert error.count("\n") == 1


# --- files of torch that hold more than tensors ---------------------------------------------------
def _whole_network(file: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), file)


def _script(file: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(file))


def _cut(file: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), file)
    file.write_bytes(file.read_bytes()[:-200])


UNREADABLE: list[tuple[Callable[[Path], object], str]] = [
    (
        _whole_network,
        "it names torch.nn.modules.linear.Linear, which is code and not a tensor; save the "
        "network's state_dict",
    ),
    (_script, "it is a TorchScript archive, which holds a program; save its state_dict() instead"),
    (_cut, "it is cut off, or no file that torch.save wrote"),
    (lambda file: file.touch(), "it is cut off, or no file that torch.save wrote"),
    (
        lambda file: file.write_text("<!DOCTYPE html>"),
        "it is cut off, or no file that torch.save wrote",
    ),
    (
        lambda file: file.write_text("hello world"),
        "it is cut off, or no file that torch.save wrote",
    ),
    (
        lambda file: file.write_bytes(pickle.dumps({"a": 1})),
        "it is cut off, or no file that torch.save wrote",
    ),
]


@pytest.mark.parametrize(("write", "said"), UNREADABLE)
def test_nobody_is_advised_to_run_code(
    write: Callable[[Path], object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "w.pth")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    weights = ["--model", "torchvision:resnet18", "--weights", str(tmp_path / "w.pth")]
    message = refused(
        [
            "inspect",
            "predict",
            *weights,
            "--image",
            str(tmp_path / "a.png"),
            "--out",
            str(tmp_path),
        ],
        capsys,
    )
    assert said in message
    assert "weights_only" not in message
    with pytest.raises(
        UsageError, match="does not hold weights of torchvision's Inception v3: it "
    ) as caught:
        Inception(tmp_path / "w.pth", torch.device("cpu"))
    assert "weights_only" not in str(caught.value)
    with pytest.raises(
        EnvironmentFailure, match=r"w\.pth is damaged"
    ):  # a state is sealed, and this file is not
        restore(tmp_path / "w.pth", {}, dict)


# --- checkpoints of training scripts --------------------------------------------------------------
def _trained() -> tuple[torch.nn.Linear, dict[str, object]]:
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return network, {
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "losses": {"train": torch.tensor(0.5)},
        "args": {"lr": 0.1},
    }


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "model_state_dict"])
def test_the_weights_in_a_training_scripts_checkpoint_are_found(key: str, tmp_path: Path) -> None:
    network, rest = _trained()
    torch.save({**rest, key: network.state_dict()}, tmp_path / "w.pt")
    state = read_state(tmp_path / "w.pt")
    assert set(state) == {"weight", "bias"}
    assert torch.equal(state["weight"], network.weight)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_that_wrappers_leave_are_cut_off(prefix: str, tmp_path: Path) -> None:
    network, _ = _trained()
    torch.save({prefix + key: value for key, value in network.state_dict().items()}, tmp_path / "w")
    assert set(read_state(tmp_path / "w")) == {"weight", "bias"}


def test_a_module_around_the_network_is_found_by_the_names_that_are_expected() -> None:
    network, _ = _trained()
    state = dict(network.state_dict())
    around = {f"model.{name}": value for name, value in state.items()}
    assert set(fitting_names(around, state)) == set(state)
    assert fitting_names(around, around) is around
    assert fitting_names({"model.other": state["bias"]}, state).keys() == {"model.other"}


def test_what_is_no_plain_state_dict_of_real_weights_is_refused(tmp_path: Path) -> None:
    network, _ = _trained()
    state = network.state_dict()
    cases = {
        "holds weight twice": {**state, "module.weight": state["weight"]},
        "weight holds a sparse tensor": {**state, "weight": state["weight"].to_sparse()},
        "weight holds no values": {**state, "weight": state["weight"].to("meta")},
    }
    for words, content in cases.items():
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(UsageError, match=words):
            read_state(tmp_path / "w.pt")
    for kind in (torch.int8, torch.complex64):
        with pytest.raises(UsageError, match=f"weight holds {str(kind)[6:]}, and the network"):
            check_numbers({"weight": state["weight"].to(kind)}, state, "--weights: w.pt")
    check_numbers({"weight": state["weight"].half()}, state, "--weights: w.pt")


def test_of_several_state_dicts_none_is_taken_in_silence(tmp_path: Path) -> None:
    network, rest = _trained()
    both = {"model": network.state_dict(), "ema": network.state_dict()}
    torch.save({**rest, **both}, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=r"holds 2 state dicts \(model, ema\)"):
        read_state(tmp_path / "w.pt")


EXPECTED = ["weight", "bias", "num_batches_tracked"]
"""The last one is missing in the file, as in older ones."""


@pytest.mark.parametrize(
    "beside",
    [
        {"metrics": {"acc": torch.ones(2)}},
        {"norm": {"mean": torch.zeros(1), "std": torch.ones(1)}},
        {"other": {"model.weight": torch.ones(1)}, "log": {"a": {"b": torch.ones(3)}}},
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "net.model."])
def test_of_several_state_dicts_the_one_with_the_networks_names_is_taken(
    beside: dict[str, object], prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network, rest = _trained()
    named = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save({**beside, **rest, "a": {"b": named}}, tmp_path / "w.pt")
    with caplog.at_level("INFO", "advlab"):
        state = read_state(tmp_path / "w.pt", lambda: EXPECTED)
    assert torch.equal(state["weight"], network.weight)
    assert set(state) == {"weight", "bias"}
    assert "a.b has the names of the network and is taken; left out: " in caplog.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (("one", "two"), "only you know which is meant"),
        (("one",), "none has the names of the network"),
    ],
)
def test_advice_to_save_one_state_dict_works(
    content: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    network, _ = _trained()
    state = dict(network.state_dict())
    strange = {"first": torch.ones(2)}
    both = dict.fromkeys(content, state) if len(content) > 1 else {"one": strange}
    torch.save({"metric": {"acc": torch.ones(2)}, "a.b": both}, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=words) as refused:
        read_state(tmp_path / "w.pt", lambda: EXPECTED)
    advice = re.search(r"torch\.load\((.*?)\)((?:\['[^']*'\])+)", str(refused.value))
    assert advice is not None
    found = torch.load(tmp_path / "w.pt")
    for key in re.findall(r"\['([^']*)'\]", advice[2]):
        found = found[key]
    assert all(isinstance(value, torch.Tensor) for value in found.values())


@pytest.mark.parametrize("other", ["criterion.weight", "metric.total", "models.bias", "weight2"])
def test_what_lies_beside_the_network_is_left_out_and_counted(
    other: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network, _ = _trained()
    around = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": {**around, other: torch.tensor(0.0)}}, tmp_path / "w.pt")
    with caplog.at_level("INFO", "advlab"):
        state = read_state(tmp_path / "w.pt", lambda: EXPECTED)
    assert set(state) == {"weight", "bias"}
    assert f"under model. are taken, and 1 other tensor left out: {other}" in caplog.text


def test_a_network_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    state = dict(_trained()[0].state_dict())
    twice = {f"{part}.{name}": value for part in ("model", "ema") for name, value in state.items()}
    torch.save(twice, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=r"2 times, under model\. and ema\.; only you know"):
        read_state(tmp_path / "w.pt", lambda: EXPECTED)
    # Beside the names themselves, others stay for torch to refuse by name.
    own = {**state, "ema.weight": state["weight"], "ema.bias": state["bias"]}
    assert fitting_names(own, list(state)) is own
