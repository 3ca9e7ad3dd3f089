"""``advlab evaluate`` through the front door: its figures, its doubts, its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchattacks
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import advlab
from advlab.cli.main import main
from advlab.components import component_names, load_component
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.image_set import Images
from advlab.evaluation.checks import (
    Outcome,
    below_chance,
    postflight,
    preflight,
    probability_check,
)
from advlab.evaluation.suites import autoattack
from advlab.experiments.evaluate import run as experiment
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.victim import Victim
from advlab.runs.machine import Machine
from advlab.training.evaluate import EVALUATION_BATCH

SUITES = [
    name
    for name in component_names("advlab.evaluation.suites")
    if name not in ("corruptions", "detection", "certification")
]
CHEAP = {
    "autoattack": "--steps 4 --queries 40",
    "quick": "--steps 5 --queries 20",
    "standard": "--steps 3 --queries 20 --decisions 60",
}


def evaluate(line: str) -> int:
    return main(["evaluate", *line.split()])


def result(pattern: str = "samples/evaluate/*") -> tuple[Path, dict[str, Any]]:
    (folder,) = Path().glob(pattern)
    return folder, json.loads((folder / "metrics.json").read_text())


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images.load(DataOptions(dataset="digits")).test


# --- suites ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("suite", SUITES)
def test_every_entry_is_an_attack_with_options_that_it_has(suite: str) -> None:
    module = load_component("advlab.evaluation.suites", suite, "suite")
    entries = module.entries(module.Options())
    assert len({entry.label.lower() for entry in entries}) == len(entries)
    for entry in entries:
        for norm in ("linf", "l2", "l1"):
            if entry.knows(norm):
                entry.kind()(**entry.settings, norm=norm, eps=[0.1])
        assert entry.knows("linf")


# The pictures are of the same kinds for all of them, so one suite's are painted.
@pytest.mark.parametrize(
    "suite",
    [pytest.param(s, marks=pytest.mark.painted if s == "quick" else ()) for s in SUITES],
)
def test_every_suite_leaves_what_its_files_say(
    suite: str, runs: Path, digits: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    place = runs / "train" / "small"
    line = f"{suite} --checkpoint {place} --eps 0.05 0.12 --limit 40 {CHEAP[suite]} "
    line += "--precision fp32"
    other = f" --surrogate {runs / 'train' / 'other'}"
    if suite != "standard":
        assert evaluate(line + other) == 2
        assert "make no transferred images" in capsys.readouterr().err
    assert evaluate(line + other * (suite == "standard")) == 0
    said = capsys.readouterr().out
    assert said.startswith("data set: digits")
    folder, metrics = result()
    images = load_file(folder / "images.safetensors")
    network = checkpoint.load(place)[0].to(memory_format=torch.channels_last)
    with torch.no_grad():
        logits = torch.cat([network(part) for part in images["perturbed"].split(EVALUATION_BATCH)])
    right = is_correct(logits, digits.labels[:40])
    assert metrics["robust_accuracy"] == int(right.sum()) / 40
    assert torch.equal(right, torch.isinf(images["broken_at"]))
    for point in metrics["points"]:
        standing = images["broken_at"] > point["eps"]
        assert point["robust_accuracy"] == int(standing.sum()) / 40
        moved = (images["perturbed"] - digits.inputs(slice(0, 40))).flatten(1).abs().amax(1)
        fell = (images["broken_at"] == point["eps"]).nonzero().squeeze(1)
        assert (moved[fell] <= point["eps"] + 1e-6).all()
    left = [row["robust_accuracy"] for row in metrics["attacks"]]
    assert left == sorted(left, reverse=True)
    assert sum(row["broken"] for row in metrics["attacks"]) == int((images["broken_by"] >= 0).sum())
    assert {"verdict.png", "curve.png"} <= {file.name for file in folder.iterdir()}
    for picture in folder.glob("*.png"):
        with Image.open(picture) as image:
            painted = len(np.unique(np.asarray(image.convert("L")))) > 20
        assert painted == (suite == "quick")
    cited = json.loads((folder / "verdict.json").read_text())
    assert cited["network"]["sha256"] == checkpoint.sha256(place / "model.safetensors")
    assert cited["robust_accuracy"] == metrics["robust_accuracy"]
    assert {"data_sha256", "seed", "versions", "attacks", "sentence", "believable"} <= set(cited)
    assert cited["sentence"] in said
    assert ("not to be cited" in cited["sentence"]) == (suite == "quick")
    assert str(runs) not in json.dumps(cited), "no paths: it is to be cited"
    assert evaluate(line + other * (suite == "standard")) == 0
    assert "finished already" in capsys.readouterr().out


def test_a_suite_of_which_no_attack_can_run_gives_no_figure(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"standard --model {runs / 'train' / 'small'} --limit 8"
    assert evaluate(f"{line} --attacks transfer") == 2
    said = capsys.readouterr().err
    assert (
        "no attack can run: transfer: no other finished training on this data set was found" in said
    )
    assert not list(Path().rglob("metrics.json"))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_plus_version_has_the_published_attacks_in_their_order(norm: str) -> None:
    """``set_version`` of the authors' code: five restarts of APGD and of untargeted FAB, one of the
    targeted attacks towards nine classes each, 100 steps, 5,000 queries."""
    options = autoattack.Options.model_validate({"variant": "plus", "norm": norm})
    apgd = {"steps": 100, "restarts": 5, "target_classes": 0}
    once = {"steps": 100, "restarts": 1, "target_classes": 9}
    expected: list[tuple[str, str, dict[str, Any]]] = [
        ("APGD-CE", "apgd", {"loss": "ce", **apgd}),
        ("APGD-DLR", "apgd", {"loss": "dlr", **apgd}),
        ("FAB-nearest", "fab", {"nearest_class": True, "steps": 100, "restarts": 5}),
        ("Square", "square", {"queries": 5000}),
        ("APGD-T", "apgd", {"loss": "dlr", **once}),
        ("FAB", "fab", {"nearest_class": False, **once}),
    ]
    for entry, (label, attack, wanted) in zip(autoattack.entries(options), expected, strict=True):
        assert (entry.label, entry.attack) == (label, attack)
        settings = entry.kind().model_validate({"norm": norm, **entry.settings}).model_dump()
        assert {name: settings[name] for name in wanted} == wanted


def test_the_plus_version_breaks_whatever_the_standard_version_breaks(runs: Path) -> None:
    """It holds the same attacks and more; their random numbers do not depend on what ran before."""
    line = f"autoattack --checkpoint {runs / 'train' / 'other'} --eps 0.08 --limit 40 "
    for variant in ("standard", "plus"):
        assert evaluate(f"{line} --variant {variant} --name {variant} {CHEAP['autoattack']}") == 0
    standard, plus = (
        torch.isinf(load_file(f"samples/evaluate/{name}/images.safetensors")["broken_at"])
        for name in ("standard", "plus")
    )
    assert 4 < int(standard.sum()) < 36, "the comparison must be able to fail"
    assert not (plus & ~standard).any()
    cited = json.loads(Path("samples/evaluate/plus/verdict.json").read_text())
    assert cited["variant"] == "plus"
    assert "autoattack suite (plus version): the worst of APGD-CE, APGD-DLR" in cited["sentence"]
    less = cited["sentence"].split("larger budget for ")[1]
    assert set(less.split(", ")) >= {"APGD-CE", "APGD-DLR", "FAB-nearest"}


def test_the_worst_case_is_no_better_than_the_reference_suites(runs: Path, digits: Images) -> None:
    """APGD-CE, APGD-T and Square of an independent implementation, on the same victim: one image
    at the most."""
    place = runs / "train" / "small"
    network, _ = checkpoint.load(place)
    few = digits.select(torch.arange(100))
    attacks = "--attacks PGD-margin APGD-CE APGD-T Square --steps 10 --queries 60"
    assert evaluate(f"--checkpoint {place} --eps 0.06 --limit 100 {attacks}") == 0
    _, metrics = result()
    left = torch.arange(100)
    suite = [
        torchattacks.APGD(network, eps=0.06, steps=10, seed=0),
        torchattacks.APGDT(network, eps=0.06, steps=10, n_classes=10, seed=0),
        torchattacks.Square(network, eps=0.06, n_queries=60, seed=0),
    ]
    with torch.no_grad():
        left = left[is_correct(network(few.inputs(slice(None))), few.labels)]
    for attack in suite:
        perturbed = attack(few.inputs(left), few.labels[left])
        with torch.no_grad():
            left = left[is_correct(network(perturbed), few.labels[left])]
    assert 0.05 < len(left) / 100 < 0.9, "the comparison must be able to fail"
    assert metrics["robust_accuracy"] <= len(left) / 100 + 0.01
    assert metrics["believable"], metrics["checks_failed"]


def test_an_evaluation_that_was_stopped_goes_on(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        f"quick --checkpoint {runs / 'train' / 'small'} --eps 0.05 0.1 --limit 30 --steps 4 "
        "--queries 20"
    )
    assert evaluate(f"{line} --out whole") == 0
    whole = result("whole/evaluate/*")
    one, calls = experiment._attack_one, []

    def stopping(*given: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        one(*given)

    monkeypatch.setattr(experiment, "_attack_one", stopping)
    assert evaluate(f"{line} --out stopped") == 130
    (folder,) = Path().glob("stopped/evaluate/*")
    assert not (folder / "metrics.json").exists()
    monkeypatch.setattr(experiment, "_attack_one", one)
    capsys.readouterr()
    assert evaluate(f"{line} --out stopped") == 0
    assert "noise:" not in capsys.readouterr().out.split("ε 0.1")[0], (
        "what was done is not done again"
    )
    ours, theirs = (load_file(at / "images.safetensors") for at in (folder, whole[0]))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_several_networks_stand_side_by_side(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        evaluate(
            f"quick --checkpoint {runs / 'train' / 'small'} {runs / 'train' / 'other'} --eps "
            "0.05 0.1 --limit 30 --steps 3 --queries 9"
        )
        == 0
    )
    (folder,) = Path().glob("samples/compare/*")
    assert {"table.md", "curves.png"} <= {file.name for file in folder.iterdir()}


def test_attacks_that_had_no_image_left_say_so(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"quick --checkpoint {runs / 'train' / 'small'} --attacks FGSM PGD --steps 1"
    assert evaluate(f"{line} --eps 1 --limit 4") == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "| PGD " in line]
    assert [cell.strip() for cell in rows[0][3:5]] == ["0", "–"]


# --- checks ---------------------------------------------------------------------------------------
FACTORIES = """
import torch
from torch import nn


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(784, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))


class Wrong(nn.Module):
    # The class whose mean is farthest: hardly ever right.

    def __init__(self):
        super().__init__()
        from sklearn.datasets import load_digits

        found = load_digits()
        images = torch.tensor(found.images / 16).float()[:, None]
        images = nn.functional.interpolate(images, (28, 28), mode="bilinear").flatten(1)
        labels = torch.tensor(found.target)
        means = [images[labels == digit].mean(0) for digit in range(10)]
        self.register_buffer("means", torch.stack(means))

    def forward(self, x):
        return torch.cdist(x.flatten(1), self.means)


class Near(Wrong):
    def forward(self, x):
        return 10.3 - super().forward(x)


class NearSoftmax(Near):
    def forward(self, x):
        return super().forward(x).softmax(1)


class NearSigmoid(Near):
    def forward(self, x):
        return (2 * super().forward(x)).sigmoid()


class Softmax(Mean):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Random(Mean):
    def forward(self, x):
        return super().forward(x) + torch.randn(len(x), 10, device=x.device)


class Blind(Mean):
    def forward(self, x):
        return super().forward((x * 4).round() / 4)


class Undefined(Mean):
    def forward(self, x):
        return super().forward(x) / 0


class Steep(Mean):
    def forward(self, x):
        return super().forward((x - 0.5).abs().sqrt())


class Sigmoid(Mean):
    def forward(self, x):
        return (8 * super().forward(x)).sigmoid()


class Constant(Mean):
    def forward(self, x):
        constant = torch.tensor([[5.0] + [0.0] * 9], device=x.device)
        return constant.expand(len(x), 10) + 0 * super().forward(x)


def number():
    return 3


def raises():
    raise OSError("no weights here")


def flat():
    return nn.Flatten()


def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 11))


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 10))


plain = Mean
"""


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)


def one_logit(z: torch.Tensor) -> torch.Tensor:
    """A single output as an adapter hands it on."""
    return torch.cat([torch.zeros_like(z), z], dim=1)


@pytest.mark.parametrize(
    ("outputs", "checks"),
    [
        (lambda z: z, []),
        (lambda z: 8 * z, []),
        (lambda z: z.softmax(1), ["softmax outputs"]),
        (lambda z: (8 * z).sigmoid(), ["sigmoid outputs"]),
        (lambda z: (8 * z[:3]).sigmoid(), []),  # nine numbers may be so by chance
        (lambda z: 0.2 + 0.6 * (8 * z).sigmoid(), []),  # logits of a network that is not sure
        (lambda z: (8 * z).relu(), []),
        (lambda z: one_logit(0.2 + 0.6 * z[:, :1].sigmoid()), ["sigmoid outputs"]),
        (lambda z: one_logit(z[:, :1]), []),
    ],
)
def test_outputs_are_told_from_logits(
    outputs: Callable[[torch.Tensor], torch.Tensor], checks: list[str]
) -> None:
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert list(probability_check(outputs(z))) == checks


@pytest.mark.usefixtures("own")
def test_runs_on_own_code_are_listed_by_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    line = "evaluate quick --attacks noise --model mine:Near --dataset digits --limit 5 --eps 0.1"
    assert main(line.split()) == 0
    capsys.readouterr()
    for model, count in (("mine:Near", 1), ("Near", 1), ("mine:Far", 0)):
        assert main(["list", "--model", model, "--format", "json"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == count


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("ends", ["Softmax", "Sigmoid"])
def test_an_attack_along_gradients_says_that_outputs_are_no_logits(
    ends: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same network seems more robust behind a softmax. Who does not follow gradients does not
    mind."""
    check = f"{ends.lower()} outputs"
    line = f"attack pgd --model mine:Near{ends} --dataset digits --limit 20 --eps 0.1 --steps 3"
    assert main([*line.split(), "--name", "white"]) == 0
    assert f"CHECK FAILED: {check}" in capsys.readouterr().out
    assert (
        check in json.loads(Path("samples/attack/white/metrics.json").read_text())["checks_failed"]
    )
    line = (
        f"attack square --model mine:Near{ends} --dataset digits --limit 20 --eps 0.1 --queries 5"
    )
    assert main([*line.split(), "--name", "black"]) == 0
    assert "CHECK FAILED" not in capsys.readouterr().out

    image = advlab.load_dataset("digits").test.pixels[0, 0]
    Image.fromarray(image.numpy()).save("digit.png")
    line = f"attack fgsm --model mine:Near{ends} --image digit.png --eps 0.1"
    assert main(line.split()) == 0
    assert (check in capsys.readouterr().out) == (ends == "Softmax")  # ten numbers may be so

    model = advlab.load_model(f"mine:Near{ends}")
    images, labels = advlab.load_dataset("digits").test.tensors(20)
    assert check in advlab.attack(model, images, labels, "pgd", eps=0.1, steps=3).checks_failed
    plain = advlab.load_model("mine:Near")
    assert not advlab.attack(plain, images, labels, "pgd", eps=0.1, steps=3).checks_failed
    transferred = advlab.attack(
        plain, images, labels, "pgd", eps=0.1, steps=3, surrogate=model
    ).checks_failed
    assert check in transferred


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("network", "check"),
    [
        ("Softmax", "softmax outputs"),
        ("Sigmoid", "sigmoid outputs"),
        ("Random", "random outputs"),
        ("Blind", "zero gradients"),
        ("Undefined", "non-finite outputs"),
        ("Constant", "robust without bounds"),
        ("Constant", "zero gradients"),
        ("Wrong", "below chance"),
    ],
)
def test_a_network_that_cannot_be_judged_is_named_in_the_first_word_of_the_verdict(
    network: str, check: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        f"quick --factory mine:{network} --dataset digits --eps 0.05 --limit 100 --steps 2 "
        "--queries 5 --attacks noise FGSM"
    )
    assert evaluate(line) == 0
    said = capsys.readouterr().out
    assert f"CHECK FAILED: {check}" in said
    verdict = next(line for line in said.splitlines() if line.startswith("VERDICT"))
    assert verdict.startswith("VERDICT: NOT TO BE BELIEVED (")
    assert check in verdict
    _, metrics = result()
    assert check in metrics["checks_failed"]
    assert not metrics["believable"]


def test_a_sound_network_passes_all_checks(runs: Path, digits: Images) -> None:
    for name in ("small", "other"):
        victim = Victim(checkpoint.load(runs / "train" / name)[0])
        right = digits.select(torch.arange(60))
        for norm, eps in (("linf", 0.1), ("l2", 1.0), ("l1", 10.0)):
            assert preflight(victim, right, norm, eps, 0) == {}


def test_a_sequence_with_a_forward_of_its_own_keeps_it_in_fast_arithmetic() -> None:
    class Doubled(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self:
                x = layer(x)
            return 2 * x

    torch.manual_seed(0)
    network = Doubled(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 4)).eval()
    x = torch.rand(5, 1, 8, 8)
    victim = Victim(network, Machine(torch.device("cpu"), "bf16"))
    assert torch.allclose(victim.estimate(x), network(x), atol=0.05)
    assert torch.allclose(victim.logits(x), network(x), atol=1e-5)


def test_a_gradient_that_leads_astray_after_its_first_step_is_noticed() -> None:
    """FGSM jumps over the ripples that stop the small steps."""

    class Ripples(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = x.flatten(1).mean(1)
            score = 20 * (0.5 - mean) + 30 * torch.sin(160 * (mean - 0.4)) ** 2 * (
                (mean - 0.4).abs() > 0.004
            ) * ((mean - 0.4).abs() < 0.15)
            return torch.stack([score, -score], 1)

    images = Images(
        torch.full((40, 1, 4, 4), 102, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64)
    )
    found = preflight(Victim(Ripples().eval()), images, "linf", 0.2, 0)
    assert "FGSM beats PGD" in found


def test_a_black_box_that_finds_what_gradients_do_not_is_noticed() -> None:
    pgd, square = Outcome("PGD", "white", 100, 10), Outcome("Square", "black", 90, 20)
    assert (
        "Square, without gradients, broke 20 of the 90"
        in postflight([pgd, square], 100)["black-box beats white-box"]
    )
    assert postflight([pgd, Outcome("Square", "black", 90, 1)], 100) == {}
    assert postflight([pgd], 100) == {}
    assert postflight([Outcome("noise", "control", 100, 10), square], 100) == {}


def test_a_black_box_is_compared_with_the_attacks_before_it() -> None:
    """In the plus version attacks with gradients come after Square as well."""
    before, square = Outcome("APGD-CE", "white", 100, 40), Outcome("Square", "black", 60, 30)
    later = Outcome("APGD-T", "white", 30, 30)
    found = postflight([before, square, later], 100)
    assert "broke 30 of the 60" in found["black-box beats white-box"]
    assert postflight([square, later], 100) == {}


def test_a_minimum_norm_attack_that_breaks_what_gradient_ascent_did_not_is_noticed() -> None:
    ascent, fab = Outcome("APGD-CE", "white", 100, 30), Outcome("FAB", "white", 70, 40, True)
    (text,) = postflight([ascent, fab], 100).values()
    assert "FAB, which looks for the smallest perturbation, broke 40 of the 70" in text
    assert postflight([ascent, Outcome("FAB", "white", 70, 40)], 100) == {}
    assert postflight([ascent, Outcome("FAB", "white", 70, 3, True)], 100) == {}
    assert postflight([ascent], 100) == {}
    later = Outcome("FAB-restarts", "white", 30, 6, True)
    (text,) = postflight([ascent, fab, later], 100).values()
    assert "broke 40 of the 70" in text, "the strongest is named, not the last"
    assert postflight([fab], 100) == {}, "without gradient ascent there is nothing to compare with"


def test_a_hidden_gradient_is_doubted_and_passed_through_when_known(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, card = checkpoint.load(runs / "train" / "small")
    from advlab.networks.filters import in_front

    filtered = nn.Sequential(*in_front({"jpeg": 80}), *network.children())
    checkpoint.save(
        Path("jpeg.safetensors"), filtered, card.model_copy(update={"filters": {"jpeg": 80}})
    )
    line = (
        "quick --checkpoint jpeg.safetensors --eps 0.1 --limit 60 --steps 5 --queries 30 "
        "--attacks noise FGSM PGD"
    )
    assert evaluate(f"{line} --no-bpda --name blind") == 0
    assert evaluate(f"{line} --name knowing") == 0
    blind, knowing = (
        json.loads(Path(f"samples/evaluate/{name}/metrics.json").read_text())
        for name in ("blind", "knowing")
    )
    assert "zero gradients" in blind["checks_failed"]
    assert "zero gradients" not in knowing["checks_failed"]
    assert knowing["robust_accuracy"] < blind["robust_accuracy"] - 0.2
    capsys.readouterr()


# --- refusals -------------------------------------------------------------------------------------
@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("standrad", "did you mean 'standard'?"),
        ("--attacks sqare", "did you mean 'Square'?"),
        ("quick --attacks FAB", "not in the quick suite"),
        ("--eps 2", "L∞ radius above 1"),
        ("--eps -0.1", "at least 0"),
        ("--eps nan", "finite"),
        ("--queries 0", "at least 1"),
        ("--steps 0", "at least 1"),
        ("--restarts 0", "belongs to the suite detection, not to standard"),
        ("--smoothing 3", "belongs to 'advlab attack'"),
        ("--checkpoint nowhere", "no checkpoint at nowhere"),
        ("--checkpoint mine.py", "add the function that makes the network"),
        ("--factory mine", "--factory: must be"),
        ("--factory nowhere:made --dataset digits", "no module named 'nowhere'"),
        ("--factory mine:nothing --dataset digits", "has no function 'nothing'"),
        ("--factory mine:number --dataset digits", "must return a torch.nn.Module, not int"),
        ("--factory mine:raises --dataset digits", "calling it raises OSError: no weights here"),
        (
            "--factory mine:flat --dataset digits",
            "its network tells 784 classes apart, and digits has 10",
        ),
        ("--factory mine:wide --dataset digits", "tells 11 classes apart"),
        ("--factory mine:small --dataset digits", "cannot take images of (1, 28, 28)"),
        ("--factory mine:plain --checkpoint x --dataset digits", "leave one of them out"),
        ("--dataset mnits", "did you mean 'mnist'?"),
        (
            "--surrogate nowhere --factory mine:plain --dataset digits",
            "--surrogate: no checkpoint at nowhere",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_a_line_and_nothing_written(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(line) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir() if path.name != "__pycache__") == [
        "mine.py"
    ]


@pytest.mark.usefixtures("own")
def test_weights_that_one_network_has_no_use_for_are_refused_before_the_first_run(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weight": torch.zeros(1)}, "mine.pt")
    line = "quick --dataset digits --limit 2 --steps 1 --queries 1 --weights mine.pt"
    assert evaluate(f"{line} --model mine.py:plain {runs / 'train' / 'small'}") == 2
    printed = capsys.readouterr()
    assert "--weights: goes with --model" in printed.err
    assert printed.out == ""
    assert not Path("samples").exists()


def test_few_images_right_by_chance_are_no_failed_check() -> None:
    assert not below_chance(2, 30, 0.1)  # one who guesses gets so few in 41 of 100 cases
    assert not below_chance(0, 30, 0.1)
    assert not below_chance(50, 100, 0.5)
    assert below_chance(0, 50, 0.1)
    assert below_chance(60, 1000, 0.1)


# --- code is named on the command line only -------------------------------------------------------
EVIL = """from pathlib import Path

Path("ran").touch()


def make():
    raise OSError("evil was called")
"""


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            "command: evaluate\nsuite: quick\ndataset: digits\nfactory: evil:make\n",
            "run.yaml:4: factory: ",
        ),
        (
            "command: evaluate\nvariants:\n- {label: a, factory: evil:make}\n",
            "run.yaml:3: variants: factory: ",
        ),
        ("command: evaluate\nFactory: evil:make\n", "run.yaml:2: Factory: unknown key"),
    ],
)
def test_a_file_never_names_code(text: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text(text)
    Path("evil.py").write_text(EVIL)
    assert main(["--config", "run.yaml"]) == 2
    error = capsys.readouterr().err
    assert place in error
    assert (
        "unknown key" in error
        or "names code to import, and that is taken from the command line only" in error
    )
    assert error.count("\n") == 1
    assert not Path("ran").exists()


@pytest.mark.usefixtures("own")
def test_the_configuration_of_a_run_of_ones_own_network_repeats_it_with_the_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "quick --factory mine:plain --dataset digits --eps 0.05 --limit 20 --attacks noise"
    assert evaluate(line) == 0
    folder, _ = result()
    file = str(folder / "config.yaml")
    capsys.readouterr()
    assert main(["--config", file]) == 2
    assert "type --model mine:plain if you trust it" in capsys.readouterr().err
    assert main(["--config", file, "--model", "mine:plain"]) == 0
    assert "is finished already" in capsys.readouterr().out
    assert evaluate(line) == 0
    assert "is finished already" in capsys.readouterr().out
