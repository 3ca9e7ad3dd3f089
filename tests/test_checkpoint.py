"""Checkpoints: what goes in comes out to the bit, and what is not ours is refused in a line and
never run."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from advlab.cli.main import main
from advlab.components import load_component
from advlab.config.base import Options
from advlab.config.fields import image_models
from advlab.errors import EnvironmentFailure, UsageError
from advlab.networks import checkpoint
from advlab.networks.classifier import assemble
from advlab.networks.metadata import GENERATOR, ImageClassifierMetadata
from advlab.training.fit import STATE

MODELS = image_models()

# Of each network one that is none of its defaults, and small.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mlp": {"width": 12, "dropout": 0.25},
    "cnn": {"channels": 3, "hidden": 9, "dropout": 0.25},
    "convnet": {"channels": 2, "dropout_scale": 0.5},
    "separable": {"dropout": 0.1},
    "resnet": {"channels": 4, "dropout": 0.1},
}


def network(
    name: str = "mlp", shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10
) -> tuple[nn.Module, ImageClassifierMetadata]:
    """A network whose every tensor, the running statistics too, is unlike a fresh one's; and its
    card."""
    kind: type[Options] = load_component("advlab.models", name, "model").Architecture
    architecture = kind(**ARCHITECTURES.get(name, {}))
    torch.manual_seed(5)
    model = assemble(
        name, architecture, shape, classes, [0.2, 0.3, 0.4][: shape[0]], [0.5, 0.6, 0.7][: shape[0]]
    )
    model.train()
    for _ in range(3):
        model(torch.rand(16, *shape))
    card = ImageClassifierMetadata(
        model=name,
        architecture=architecture.model_dump(),
        shape=shape,
        classes=tuple(f"class {number} ε" for number in range(classes)),
        dataset="digits",
        data={"split_seed": 3, "image_size": None},
        training={"seed": 4, "epoch": 2, "val_accuracy": 0.1 + 0.2},
    )
    return model, card


def written(path: Path, card: str, tensors: dict[str, Tensor] | None = None) -> Path:
    """A safetensors file that carries this text as its card."""
    values = network()[0].state_dict() if tensors is None else tensors
    save_file(
        {name: value.clone() for name, value in values.items()}, path, metadata={"advlab": card}
    )
    return path


def altered(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A checkpoint whose card was tampered with."""
    values = json.loads(network()[1].model_dump_json())
    change(values)
    return written(path, json.dumps(values))


def refusal(path: Path) -> str:
    """What is said of a file that is no checkpoint: always the user's mistake, in one line that
    names the file."""
    with pytest.raises(UsageError) as caught:
        checkpoint.load(path)
    said = str(caught.value)
    assert "\n" not in said
    return said


# --- there and back -------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)], ids=["grey", "colour"])
@pytest.mark.parametrize("name", MODELS)
def test_a_network_comes_back_to_the_bit(
    name: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    model, card = network(name, shape, 7)
    checkpoint.save(tmp_path / "model.safetensors", model, card)
    torch.manual_seed(99)  # nothing that is drawn while it is rebuilt may stay in it
    back, back_card = checkpoint.load(tmp_path / "model.safetensors")
    assert back_card == card
    assert not back.training
    there, here = model.state_dict(), back.state_dict()
    assert list(there) == list(here)
    for key, value in there.items():
        assert value.dtype == here[key].dtype
        assert torch.equal(value, here[key]), key
    images = torch.rand(4, *shape)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), back(images))
    # Dropout is of the architecture as well, though it leaves no trace in the tensors.
    rates = [
        [module.p for module in each.modules() if isinstance(module, nn.Dropout)]
        for each in (model, back)
    ]
    assert rates[0] == rates[1]
    assert rates[0]


@pytest.mark.parametrize("name", MODELS)
def test_dropout_that_comes_back_drops_in_training_only(name: str, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "model.safetensors", *network(name))
    back, _ = checkpoint.load(tmp_path / "model.safetensors")
    images = torch.rand(16, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(back(images), back(images))
        back.train()
        for module in back.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.eval()  # which would make a difference of its own
        assert not torch.equal(back(images), back(images))


def test_the_same_network_makes_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        checkpoint.save(tmp_path / name, *network("cnn"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert checkpoint.sha256(tmp_path / "a") == checkpoint.sha256(tmp_path / "b")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a", "b"], (
        "no temporary file stays"
    )


def test_other_tools_can_read_it(tmp_path: Path) -> None:
    """It is plain safetensors: tensors by their names in the network, one word of metadata, which
    is JSON."""
    model, card = network()
    checkpoint.save(tmp_path / "model.safetensors", model, card)
    with safe_open(tmp_path / "model.safetensors", framework="np") as content:
        assert set(content.keys()) == set(model.state_dict())
        assert list(content.metadata()) == ["advlab"]
        said = json.loads(content.metadata()["advlab"])
    assert said["model"] == "mlp"
    assert said["classes"][1] == "class 1 ε"
    assert said["training"]["val_accuracy"] == 0.1 + 0.2


def test_a_channels_last_network_is_written_like_any_other(tmp_path: Path) -> None:
    model, card = network("cnn")
    checkpoint.save(tmp_path / "plain", model, card)
    checkpoint.save(tmp_path / "last", model.to(memory_format=torch.channels_last), card)
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "last").read_bytes()


def test_a_folder_stands_for_the_checkpoint_in_it(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / checkpoint.FILE, *network())
    assert checkpoint.locate(tmp_path) == tmp_path / checkpoint.FILE
    assert checkpoint.load(tmp_path)[1] == checkpoint.load(tmp_path / checkpoint.FILE)[1]
    (tmp_path / "empty").mkdir()
    assert (
        refusal(tmp_path / "empty")
        == f"no image classifier at {tmp_path / 'empty'}: the folder holds no {checkpoint.FILE}"
    )
    assert refusal(tmp_path / "missing") == f"no checkpoint at {tmp_path / 'missing'}"


def test_a_run_without_the_folder_of_all_runs_is_pointed_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples" / "train" / "a").mkdir(parents=True)
    assert refusal(Path("train/a")) == "no checkpoint at train/a"
    checkpoint.save(tmp_path / "samples" / "train" / "a" / checkpoint.FILE, *network())
    assert refusal(Path("train/a")) == ("no checkpoint at train/a; there is one at samples/train/a")


@pytest.mark.parametrize(
    ("key", "held"),
    [
        ("advlab", ", which is an image classifier"),
        ("advlab-text", ", which is a text classifier"),
        ("other", ""),
    ],
)
def test_what_a_folder_holds_in_place_of_a_generator_is_named(
    key: str, held: str, tmp_path: Path
) -> None:
    """Classifiers of both kinds have files of one name."""
    save_file({"weight": torch.zeros(1)}, tmp_path / checkpoint.FILE, {key: "{}"})
    with pytest.raises(UsageError) as refused:
        checkpoint.locate(tmp_path, GENERATOR)
    assert str(refused.value) == (
        f"no generator at {tmp_path}: the folder holds no {GENERATOR.file}, but "
        f"{checkpoint.FILE}{held}"
    )


def test_a_save_that_fails_leaves_the_old_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / checkpoint.FILE
    checkpoint.save(file, *network())
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(file, *network("cnn"))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


# --- what is not ours -----------------------------------------------------------------------------
class Bomb:
    """Unpickled, it makes a folder: the proof that it was run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def armed(kind: str, path: Path, trace: Path) -> Path:
    """A file that runs something when it is unpickled."""
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save({"model": Bomb(trace)}, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def test_the_bomb_is_live(tmp_path: Path) -> None:
    for kind in ("pickle", "zip", "tar"):
        trace, file = (
            tmp_path / f"trace-{kind}",
            armed(kind, tmp_path / kind, tmp_path / f"trace-{kind}"),
        )
        if kind == "pickle":
            pickle.loads(file.read_bytes())
        else:
            torch.load(file, weights_only=False)
        assert trace.is_dir()


@pytest.mark.parametrize("kind", ["pickle", "zip", "tar"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_pickle_is_refused_and_never_run(kind: str, suffix: str, tmp_path: Path) -> None:
    file = armed(kind, tmp_path / f"model{suffix}", tmp_path / "trace")
    said = refusal(file)
    assert str(file) in said
    assert "not a checkpoint of advlab" in said
    assert not (tmp_path / "trace").exists()


LINE = "train mlp --width 8 --dataset digits --train-size 20 --epochs 1 --precision fp32 --name run"


def stopped(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that was stopped with its state on the disk."""
    monkeypatch.chdir(place)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("advlab.experiments.train.run.train_result", stop)
        assert main(LINE.split()) == 130
    folder = Path("samples/train/run")
    assert (folder / STATE).is_file()
    return folder


@pytest.mark.parametrize("kind", ["pickle", "zip", "tar"])
def test_a_state_to_resume_from_is_not_run_either(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped(tmp_path, monkeypatch)
    armed(kind, folder / STATE, tmp_path / "trace")
    capsys.readouterr()
    assert main(LINE.split()) == EnvironmentFailure.exit_status
    said = capsys.readouterr().err
    assert f"{folder / STATE} is damaged" in said
    assert "--overwrite starts over" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "trace").exists()
    assert main([*LINE.split(), "--overwrite"]) == 0, "and what it says to do works"
    assert not (tmp_path / "trace").exists()


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_state_that_is_no_state_is_refused_without_a_warning_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning of torch's would be a line more on stderr than the one that was promised."""
    (stopped(tmp_path, monkeypatch) / STATE).write_bytes(pickle.dumps({"progress": {}}, protocol=4))
    capsys.readouterr()
    assert main(LINE.split()) == EnvironmentFailure.exit_status
    assert "is damaged" in capsys.readouterr().err


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    checkpoint.save(whole, *network())
    content = whole.read_bytes()
    (header,) = struct.unpack("<Q", content[:8])
    for length in (
        0,
        1,
        7,
        8,
        9,
        8 + header // 2,
        8 + header,
        9 + header,
        len(content) // 2,
        len(content) - 1,
    ):
        cut = tmp_path / "cut"
        cut.write_bytes(content[:length])
        assert "not a checkpoint of advlab" in refusal(cut), length
    (tmp_path / "longer").write_bytes(content + b"\0")
    assert "not a checkpoint of advlab" in refusal(tmp_path / "longer")
    # A header that claims more than the machine has must not be believed.
    (tmp_path / "claims").write_bytes(struct.pack("<Q", 2**62) + content[8:])
    assert "not a checkpoint of advlab" in refusal(tmp_path / "claims")


def test_a_foreign_safetensors_file_is_named_as_that(tmp_path: Path) -> None:
    for number, metadata in enumerate((None, {}, {"format": "pt"}, {"advlab2": "{}"})):
        file = tmp_path / f"{number}.safetensors"
        save_file({"weight": torch.zeros(2)}, file, metadata=metadata)
        assert refusal(file) == (
            f"{file} is a safetensors file, but not a checkpoint of advlab: it carries no metadata"
        )


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '"mlp"', '{"model": NaN}', "\N{BYTE ORDER MARK}{}"],
    ids=lambda text: repr(text)[:20],
)
def test_a_damaged_card_is_named_as_that(text: str, tmp_path: Path) -> None:
    file = written(tmp_path / "model.safetensors", text)
    assert refusal(file).startswith(f"{file}: the metadata of this checkpoint are damaged: ")


def test_a_card_nested_without_end_is_damaged(tmp_path: Path) -> None:
    assert "damaged" in refusal(written(tmp_path / "model.safetensors", "[" * 100_000))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown network": lambda card: card.update(model="resnet"),
    "a path for a network": lambda card: card.update(model="../../evil"),
    "a module that is no network": lambda card: card.update(model="_network"),
    "a network of another kind": lambda card: card.update(model="cnn"),
    "an unknown part": lambda card: card["architecture"].update(depth=3),
    "a width that is a word": lambda card: card["architecture"].update(width="wide"),
    "a width out of range": lambda card: card["architecture"].update(width=10**9),
    "another width": lambda card: card["architecture"].update(width=13),
    "more classes": lambda card: card["classes"].append("one more"),
    "one class": lambda card: card.update(classes=["alone"]),
    "more channels": lambda card: card.update(shape=[3, 28, 28]),
    "another side": lambda card: card.update(shape=[1, 27, 28]),
    "a negative side": lambda card: card.update(shape=[1, -28, 28]),
    "more than fits in memory": lambda card: card.update(shape=[1, 10**6, 10**6]),
    "two sides": lambda card: card.update(shape=[28, 28]),
    "an unknown key": lambda card: card.update(code="import os"),
    "a key too few": lambda card: card.pop("dataset"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_card_that_does_not_fit_is_refused(what: str, tmp_path: Path) -> None:
    refusal(altered(tmp_path / "model.safetensors", CHANGES[what]))


def test_a_side_beyond_all_integers_is_refused(tmp_path: Path) -> None:
    refusal(
        altered(tmp_path / "model.safetensors", lambda card: card.update(shape=[1, 10**30, 28]))
    )


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_shape_without_channels_is_refused_in_one_line(tmp_path: Path) -> None:
    refusal(altered(tmp_path / "model.safetensors", lambda card: card.update(shape=[0, 28, 28])))


TENSORS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "one too many": lambda tensors: tensors.update(evil=torch.zeros(3)),
    "one too few": lambda tensors: tensors.pop("1.1.weight"),
    "none": lambda tensors: tensors.clear(),
    "of another shape": lambda tensors: tensors.update({"1.1.weight": tensors["1.1.weight"][:-1]}),
}


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_do_not_fit_are_refused(what: str, tmp_path: Path) -> None:
    model, card = network()
    tensors = dict(model.state_dict())
    TENSORS[what](tensors)
    file = written(tmp_path / "model.safetensors", card.model_dump_json(), tensors)
    assert refusal(file).startswith(f"{file}: its weights do not fit the mlp that it names: ")


def test_the_refusal_of_tensors_says_which_of_them(tmp_path: Path) -> None:
    model, card = network()
    tensors = dict(model.state_dict())
    tensors["1.1.weight"] = tensors["1.1.weight"][:-1]
    assert "1.1.weight" in refusal(
        written(tmp_path / "model.safetensors", card.model_dump_json(), tensors)
    )


@pytest.mark.parametrize("kind", ["pickle", "cut", "foreign", "another shape"])
def test_at_the_front_door_it_is_one_line_and_nothing_is_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("model.safetensors")
    if kind == "pickle":
        armed("zip", file, tmp_path / "trace")
    elif kind == "foreign":
        save_file({"weight": torch.zeros(2)}, file)
    else:
        checkpoint.save(file, *network(shape=(1, 8, 8) if kind == "another shape" else (1, 28, 28)))
        if kind == "cut":
            file.write_bytes(file.read_bytes()[:-1])
    assert (
        main(["attack", "fgsm", "--dataset", "digits", "--checkpoint", str(file)])
        == UsageError.exit_status
    )
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert "model.safetensors" in said.err
    assert said.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
