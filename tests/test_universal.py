"""``advlab attack universal``: what one perturbation for all images owes, through the front door
and beside closed forms, autograd and naive loops."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import advlab
from advlab.attacks import universal
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.goal import Goal
from advlab.perturbation.shared import gradient_of, placed, random_ones
from advlab.perturbation.victim import Victim
from advlab.results.attack import AttackResult
from advlab.runs import results

EXPONENTS = {"linf": float("inf"), "l2": 2.0}


def curved() -> nn.Sequential:
    """A small network in float64."""
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(18, 12), nn.Tanh(), nn.Linear(12, 4))
    return nn.Sequential(*layers).double().eval()


def made_images(count: int = 9) -> Tensor:
    """Images (N, 2, 3, 3) away from black and white, float64."""
    generator = torch.Generator().manual_seed(1)
    return 0.3 + 0.4 * torch.rand(count, 2, 3, 3, generator=generator, dtype=torch.float64)


# --- how it is made -------------------------------------------------------------------------------
@pytest.mark.parametrize("targeted", [False, True])
def test_the_gradient_points_where_that_of_the_clipped_loss_does(targeted: bool) -> None:
    """By finite differences of the papers' loss, in the middle of the range."""
    network, images, clip = curved(), made_images(), 1.4
    classes = torch.arange(len(images)) % 4
    r = torch.full((1, 2, 3, 3), 0.02, dtype=torch.float64)

    def loss(perturbation: Tensor) -> float:
        logits = network(images + perturbation).detach()
        each = functional.cross_entropy(logits, classes, reduction="none")
        return float(-each.sum() if targeted else each.clamp(max=clip).sum())

    each = functional.cross_entropy(network(images + r), classes, reduction="none")
    assert 0 < int((each > clip).sum()) < len(images), "the clip must matter to some"
    expected = torch.zeros_like(r)
    for place in range(r.numel()):
        step = torch.zeros_like(r)
        step.view(-1)[place] = 1e-6
        expected.view(-1)[place] = (loss(r + step) - loss(r - step)) / 2e-6
    ours = gradient_of(Victim(network), images, r, Goal(classes, targeted), clip)
    assert float(functional.cosine_similarity(ours.flatten(), expected.flatten(), dim=0)) > 1 - 1e-9


def test_a_network_so_sure_that_float32_rounds_its_gradient_to_nothing_has_a_direction() -> None:
    layer = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[99.0, 50.0, 50.0, 50.0], [-99.0, -50.0, -50.0, -50.0]]))
    network = nn.Sequential(nn.Flatten(), layer).eval()
    images, r = torch.full((3, 1, 2, 2), 0.5), torch.zeros(1, 1, 2, 2)
    label = torch.zeros(3, dtype=torch.int64)
    own = r.clone().requires_grad_()
    functional.cross_entropy(network(images + own), label).backward()
    assert own.grad is not None
    assert not own.grad.any()
    assert (gradient_of(Victim(network), images, r, Goal(label), 9.0) < 0).all()


def test_where_the_range_ends_only_a_gradient_that_leads_back_counts() -> None:
    """Class 1 grows with each pixel, and the label is 0: the loss rises with each pixel."""
    layer = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
    victim = Victim(nn.Sequential(nn.Flatten(), layer).eval())
    images = torch.tensor([0.0, 0.5, 1.0, 1.0]).view(1, 1, 2, 2)
    r = torch.tensor([-0.1, 0.1, -0.1, 0.1]).view(1, 1, 2, 2)
    gradient = gradient_of(victim, images, r, Goal(torch.tensor([0])), 9.0).flatten()
    assert (gradient[:3] > 0).all()
    assert gradient[3] == 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_of_a_linear_network_it_is_the_best_there_is(norm: str) -> None:
    """Two classes, all images of one: the best direction for the sum is that for each image."""
    torch.manual_seed(2)
    layer = nn.Linear(18, 2)
    network = nn.Sequential(nn.Flatten(), layer).double().eval()
    images = Images(made_images().float(), torch.zeros(9, dtype=torch.int64))
    options = universal.Options(norm=norm, steps=100, batch_size=4, clip=100)
    ours = universal.made(Victim(network.float()), images, None, 0.1, options)
    slope = (layer.weight[1] - layer.weight[0]).detach()
    best = 0.1 * (slope.sign() if norm == "linf" else slope / slope.norm())
    assert float(ours.flatten() @ slope) > 0.999 * float(best @ slope)
    assert float(torch.linalg.vector_norm(ours, ord=EXPONENTS[norm])) <= 0.1 * (1 + 1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_ones_have_the_norm_and_differ(norm: str) -> None:
    drawn = random_ones((3, 5, 4), 0.3, EXPONENTS[norm], 10, seed=0)
    sizes = torch.linalg.vector_norm(drawn.flatten(1), ord=EXPONENTS[norm], dim=1)
    assert torch.allclose(sizes, torch.full((10,), 0.3))
    assert len(drawn.unique(dim=0)) == 10
    assert not torch.equal(drawn, random_ones((3, 5, 4), 0.3, EXPONENTS[norm], 10, seed=1))


# --- through the front door -----------------------------------------------------------------------
LINE = "attack universal --dataset digits --eps 0 0.1 0.25 --steps 40 --batch-size 100 --limit 120"


@pytest.fixture(scope="module")
def folder(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an attack on a trained network."""
    out = tmp_path_factory.mktemp("universal")
    assert main([*LINE.split(), "--model", str(runs / "train" / "small"), "--out", str(out)]) == 0
    (folder,) = out.glob("attack/*")
    return folder


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_images.load(DataOptions(dataset="digits"))


def perturbation(folder: Path, eps: str) -> Tensor:
    return load_file(folder / f"perturbation-eps{eps}.safetensors")["perturbation"]


def test_every_image_gets_the_same_perturbation_and_figures_are_of_the_files(
    folder: Path, digits: ImageSet, runs: Path
) -> None:
    result = results.read_as(AttackResult, folder)
    network, _ = checkpoint.load(runs / "train" / "small")
    images, labels = digits.test.tensors(120)
    assert result.shared is not None
    assert result.shared.training_images == len(digits.train)
    for point, own in zip(result.points, result.shared.points, strict=True):
        name = f"{point.eps:g}"
        r = perturbation(folder, name)
        assert r.shape == (1, 1, 28, 28)
        assert float(r.abs().max()) <= point.eps * (1 + 1e-6)
        saved = load_file(folder / f"images-eps{name}.safetensors")["perturbed"]
        with torch.no_grad():
            before, after = network(images), network((images + r).clamp(0, 1))
            training = network(digits.train.inputs(slice(None))).argmax(1)
            turned = network(placed(digits.train.inputs(slice(None)), r)).argmax(1)
        right = is_correct(before, labels)
        assert torch.equal(
            saved[right], (images + r).clamp(0, 1)[right] if point.eps else images[right]
        )
        assert torch.equal(saved[~right], images[~right]), "as of any attack"
        assert own.eps == point.eps
        fooled = before.argmax(1) != after.argmax(1)
        assert own.fooling_rate == pytest.approx(float(fooled.double().mean()))
        assert own.accuracy == pytest.approx(float(is_correct(after, labels).double().mean()))
        assert own.training_fooling_rate == pytest.approx(
            float((training != turned).double().mean())
        )
        assert point.robust_accuracy == pytest.approx(
            float((right & is_correct(after, labels)).double().mean())
        )
    assert (folder / "perturbation.png").is_file()


def test_it_fools_far_more_images_than_random_ones_do(folder: Path) -> None:
    result = results.read_as(AttackResult, folder)
    assert result.shared is not None
    still, _, wide = result.shared.points
    assert still.fooling_rate == still.random_fooling_rate == 0
    assert wide.fooling_rate > wide.random_fooling_rate + 0.3


def test_the_random_control_is_that_of_a_naive_loop(
    folder: Path, digits: ImageSet, runs: Path
) -> None:
    result = results.read_as(AttackResult, folder)
    assert result.shared is not None
    network, _ = checkpoint.load(runs / "train" / "small")
    images, labels = digits.test.tensors(120)
    rates, accuracies = [], []
    with torch.no_grad():
        before = network(images).argmax(1)
        for r in random_ones((1, 28, 28), 0.25, float("inf"), result.shared.draws, seed=0):
            after = network((images + r).clamp(0, 1))
            rates.append(float((after.argmax(1) != before).double().mean()))
            accuracies.append(float(is_correct(after, labels).double().mean()))
    assert result.shared.points[-1].random_fooling_rate == pytest.approx(sum(rates) / len(rates))
    assert result.shared.points[-1].random_accuracy == pytest.approx(
        sum(accuracies) / len(accuracies)
    )


def test_the_result_says_that_all_images_share_it(folder: Path) -> None:
    result = results.read_as(AttackResult, folder)
    assert result.context() == "at ε = 0.25 (L∞), one perturbation for all images"
    assert result.threat_model() != "L∞ ball"


def test_a_comparison_with_an_attack_on_each_image_says_what_differs(
    folder: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(folder.parent.parent)]
    line = "attack pgd --dataset digits --eps 0 0.1 0.25 --limit 120 --name each"
    assert main([*line.split(), "--model", str(runs / "train" / "small"), *out]) == 0
    capsys.readouterr()
    both = ["compare", str(folder), str(folder.parent / "each"), *out]
    assert main(both) == 2
    assert "one perturbation for all images" in capsys.readouterr().err
    assert main([*both, "--anyway"]) == 0
    assert "different threat models" in capsys.readouterr().out


def test_test_images_do_not_shape_it_and_the_seed_does(
    folder: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advlab.experiments.attack.run.draw", lambda *given: None)
    line = "attack universal --dataset digits --eps 0.1 --steps 40 --batch-size 100"
    model = ["--model", str(runs / "train" / "small")]
    for name, more in {"few": ["--limit", "7"], "seed": ["--seed", "1", "--limit", "7"]}.items():
        more += ["--out", str(tmp_path), "--name", name]
        assert main([*line.split(), *model, *more]) == 0
    ours = perturbation(folder, "0.1")
    assert torch.equal(perturbation(tmp_path / "attack" / "few", "0.1"), ours)
    assert not torch.equal(perturbation(tmp_path / "attack" / "seed", "0.1"), ours)


def test_an_interrupted_run_goes_on_with_the_perturbation_that_it_made(
    folder: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("advlab.experiments.attack.run.draw", lambda *given: None)
    line = "attack universal --dataset digits --eps 0.1 --steps 40 --batch-size 100 --limit 7"
    words = [*line.split(), "--model", str(runs / "train" / "small"), "--out", str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr("advlab.experiments.attack.run._save_images", stop)
        assert main(words) == 130
    monkeypatch.setattr("advlab.perturbation.shared.ascended", stop)
    assert main(words) == 0
    (resumed,) = tmp_path.glob("attack/*")
    assert torch.equal(perturbation(resumed, "0.1"), perturbation(folder, "0.1"))


def test_towards_a_class_it_is_made_on_images_of_the_others(
    runs: Path, tmp_path: Path, digits: ImageSet
) -> None:
    line = "attack universal --dataset digits --eps 4 --steps 30 --target 3 --norm l2 --quantize"
    line += " --batch-size 100 --limit 80 --train-size 300"
    model = str(runs / "train" / "small")
    assert main([*line.split(), "--model", model, "--out", str(tmp_path)]) == 0
    (folder,) = tmp_path.glob("attack/*")
    result = results.read_as(AttackResult, folder)
    assert result.shared is not None
    assert result.shared.training_images == 300
    assert result.success_rate > 0.3
    (point,) = result.shared.points
    network, _ = checkpoint.load(runs / "train" / "small")
    images, labels = digits.test.tensors(80)
    with torch.no_grad():
        after = network((images + perturbation(folder, "4")).clamp(0, 1)).argmax(1)
    assert point.target_rate == pytest.approx(float((after[labels != 3] == 3).double().mean()))
    assert point.target_rate is not None
    assert point.random_target_rate is not None
    assert point.random_target_rate < point.target_rate
    saved = load_file(folder / "images-eps4.safetensors")
    assert torch.equal(saved["perturbed"], (saved["perturbed"] * 255).round() / 255)
    size = (saved["perturbed"] - digits.test.inputs(saved["index"])).flatten(1).norm(dim=1)
    assert float(size.max()) <= 4 * (1 + 1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "each"], "--target: each"),
        (["--model", "torchvision:resnet18", "--image", "cat.jpg"], "a photo has none"),
    ],
)
def test_what_it_has_no_use_for_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", "universal", *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1


def test_python_points_to_the_command_line() -> None:
    images, labels = torch.rand(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(UsageError, match=r"advlab\.run\('attack universal"):
        advlab.attack(nn.Flatten().eval(), images, labels, "universal", eps=0.1)
