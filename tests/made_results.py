"""Results that no run made, for tests of what becomes of results."""

from __future__ import annotations

from typing import Any

from advlab.results.train import TrainResult

MACHINE = {
    "advlab": "0",
    "python": "3",
    "torch": "2",
    "platform": "here",
    "processor": "one",
    "threads": 1,
    "device": "cpu",
    "precision": "fp32",
}


def network(sha256: str) -> dict[str, Any]:
    """A cnn of this hash, as a result records it."""
    return {"model": "cnn", "sha256": sha256}


TEXTS: dict[str, Any] = {
    "command": "attack",
    "component": "hotflip",
    "dataset": "reviews",
    "origin": "the reviews",
    "data_sha256": "d" * 64,
    "model": "bow",
    "seed": 0,
    "seconds": 1.0,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": MACHINE,
    "max_perturbed": 0.15,
    "clean_accuracy": 0.75,
    "robust_accuracy": 0.25,
    "success_rate": 0.5,
    "perturbed_words": None,
    "edit_distance": None,
    "similarity": None,
    "vectors": None,
    "queries": 3.0,
    "curve": [(0.0, 0.75)],
    "texts": 30,
    "texts_sha256": "a" * 64,
    "attacked": 20,
    "classes": 2,
    "network": network("e" * 64),
}
"""What an attack on texts may have reported."""


def train_result(**changes: Any) -> TrainResult:
    """What a training of an mlp on the digits may have reported, but for ``changes``."""
    values: dict[str, Any] = {
        "command": "train",
        "component": "mlp",
        "dataset": "digits",
        "origin": "the digits",
        "data_sha256": "d" * 64,
        "model": "mlp",
        "parameters": 1234,
        "seed": 0,
        "seconds": 2.0,
        "date": "2026-01-02T03:04:05+00:00",
        "machine": MACHINE,
        "test_accuracy": 0.5,
        "test_loss": 1.5,
        "val_accuracy": 0.5,
        "train_accuracy": 0.5,
        "best_epoch": 1,
        "epochs": 1,
        "unit": "images",
        "examples": {"train": 40, "val": 180, "test": 360},
        "checkpoint": "model.safetensors",
        "checkpoint_sha256": "c" * 64,
    }
    return TrainResult.model_validate({**values, **changes})
