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
