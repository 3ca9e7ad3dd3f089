"""The collapse monitor: what it finds, and that it finds nothing in real images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.gan.collapse_monitor import Diversity, indicators_of, is_lasting
from advlab.gan.feature_classifier import FeatureClassifier, Measured
from advlab.models.cnn import Architecture
from advlab.networks.classifier import assemble

HEALTHY = {
    "d_real": torch.full((9,), 0.7),
    "d_fake": torch.full((9,), 0.3),
    "loss_d": torch.full((9,), 0.9),
    "grad_g": torch.ones(9),
}


class Eyes:
    """Says the label that stands in an image's first pixel; its features are the pixels."""

    def __call__(self, pixels: Tensor) -> Measured:
        return Measured(
            pixels.flatten(1).float() / 255,
            torch.nn.functional.one_hot(pixels[:, 0, 0, 0].long(), 10).float(),
        )


def test_real_images_are_drawn_from_all_classes() -> None:
    """Test sets are often stored class by class, and the first images are then of one."""
    labels = torch.arange(10).repeat_interleave(20)
    one_hot = torch.nn.functional.one_hot(labels, 10).float()
    found = Measured(one_hot, one_hot).drawn(60, 3)
    assert len(found.features) == 60
    assert int((found.counts() > 0).sum()) == 10
    assert torch.equal(found.features, found.probabilities)
    assert len(Measured(one_hot, one_hot).drawn(999, 3).features) == 200


def real(count: int = 200, seed: int = 0) -> Tensor:
    images = load_images.load(DataOptions(dataset="digits")).train
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]
    pixels = images.pixels[order].clone()
    pixels[:, 0, 0, 0] = images.labels[order].to(torch.uint8)
    return pixels


def heard(
    pixels: Tensor,
    steps: dict[str, Tensor] | None = None,
    loss: str = "nonsaturating",
    first: float = 1.0,
) -> dict[str, str]:
    variety = Diversity(Eyes()(real()), real(), Eyes()(real(seed=9)))
    return {
        sign.name: sign.words
        for sign in indicators_of(variety(Eyes()(pixels), pixels), steps or HEALTHY, loss, first)
    }


@pytest.mark.parametrize("seed", range(1, 6))
def test_it_is_silent_on_other_real_images(seed: int) -> None:
    assert heard(real(seed=seed)) == {}


def test_of_a_thousand_classes_a_sample_misses_many_by_chance() -> None:
    random = torch.Generator().manual_seed(0)

    def drawn(classes: int) -> Measured:
        labels = torch.randint(classes, (800,), generator=random)
        return Measured(
            torch.randn(800, 8, generator=random), torch.nn.functional.one_hot(labels, 1000).float()
        )

    pixels = torch.randint(256, (800, 1, 6, 6), generator=random, dtype=torch.uint8)
    variety = Diversity(drawn(1000), pixels, drawn(1000))
    assert [
        sign.name for sign in indicators_of(variety(drawn(1000), pixels), HEALTHY, "hinge", 1.0)
    ] == []
    assert "modes" in [
        sign.name for sign in indicators_of(variety(drawn(150), pixels), HEALTHY, "hinge", 1.0)
    ]


def test_few_classes() -> None:
    one = real(400)
    one = one[one[:, 0, 0, 0] < 3][:100]
    assert "images of 3 of 10 classes only" in heard(one)["modes"]


def test_most_of_one_class() -> None:
    pixels = real(1000)
    ones, others = pixels[pixels[:, 0, 0, 0] == 1][:80], pixels[pixels[:, 0, 0, 0] != 1][:20]
    found = heard(torch.cat([ones, others]))
    assert "nearly all of a few classes" in found["balance"]


def test_copies() -> None:
    found = heard(real(20).repeat(10, 1, 1, 1))
    assert "100 % of the images have a near-copy" in found["duplicates"]
    assert "diversity" not in found  # the twenty themselves are far apart


def test_images_that_are_all_alike() -> None:
    """The same image with a little noise on it: no exact copies, and yet one image."""
    noise = torch.randint(
        0, 60, (200, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    pixels = real(1).repeat(200, 1, 1, 1) // 2 + noise
    pixels[:, 0, 0, 0] = torch.arange(200).to(torch.uint8) % 10
    assert "as far apart as real ones" in heard(pixels)["diversity"]


def test_a_discriminator_that_cannot_be_fooled() -> None:
    sure = {
        **HEALTHY,
        "d_real": torch.full((9,), 0.995),
        "d_fake": torch.full((9,), 0.004),
        "loss_d": torch.full((9,), 0.005),
    }
    assert "saturated" in heard(real(), sure)
    assert "saturated" in heard(real(), sure, loss="bce")
    assert "saturated" in heard(real(), sure, loss="hinge")
    assert "saturated" not in heard(
        real(), sure, loss="wgan-gp"
    )  # whose scores are no probabilities
    assert "saturated" not in heard(real(), {**sure, "d_fake": torch.full((9,), 0.2)})


def test_a_gradient_that_is_gone() -> None:
    assert "still" in heard(real(), {**HEALTHY, "grad_g": torch.full((9,), 1e-6)})
    assert "still" not in heard(real(), {**HEALTHY, "grad_g": torch.full((9,), 1e-2)})


def test_a_collapse_lasts_when_three_looks_in_a_row_show_it() -> None:
    def looks(*collapsed: bool) -> list[dict[str, Any]]:
        return [{"collapsed": one} for one in collapsed]

    assert is_lasting(looks(False, True, True, True))
    assert not is_lasting(looks(True, True))
    assert not is_lasting(looks(True, True, False, True, True))


# --- the feature classifier -----------------------------------------------------------------------
def classifier(channels: int = 1) -> torch.nn.Sequential:
    torch.manual_seed(0)
    return assemble(
        "cnn",
        Architecture(channels=4, hidden=6),
        (channels, 28, 28),
        10,
        [0.3] * channels,
        [0.3] * channels,
    ).eval()


def test_features_and_probabilities_are_the_networks_own() -> None:
    network, pixels = classifier(), real(30)
    measured = FeatureClassifier(network, (1, 28, 28), torch.device("cpu"))(pixels, batch=7)
    with torch.inference_mode():
        logits = network(pixels.float() / 255)
    torch.testing.assert_close(measured.probabilities, logits.softmax(dim=1))
    assert measured.features.shape == (30, 6)
    assert torch.equal(measured.counts(), logits.argmax(1).bincount(minlength=10))
    assert len(measured.first(4).features) == 4


def test_a_stacked_image_is_measured_channel_by_channel() -> None:
    feature_classifier = FeatureClassifier(classifier(), (1, 28, 28), torch.device("cpu"))
    one, two, three = real(5, 1), real(5, 2), real(5, 3)
    stacked = feature_classifier(torch.cat([one, two, three], dim=1))
    single = [feature_classifier(part) for part in (one, two, three)]
    torch.testing.assert_close(
        stacked.features, torch.cat([part.features for part in single], dim=1)
    )
    assert stacked.probabilities.shape == (5, 1000)
    assert torch.equal(
        stacked.labels,
        sum(part.labels * 10**place for part, place in zip(single, (2, 1, 0), strict=True)),
    )
    torch.testing.assert_close(stacked.probabilities.sum(dim=1), torch.ones(5))
