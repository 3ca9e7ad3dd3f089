"""advlab as a library: attacks and evaluations of any PyTorch classifier, in memory.

A model is a ``torch.nn.Module`` in evaluation mode that takes images (N, C, H, W) in [0, 1] and
returns logits (N, classes). The figures are those of the command line: the same attacks, with the
same random numbers for the same seed.
"""

from __future__ import annotations

from advlab.api.attacking import AttackResult, attack
from advlab.api.certifying import CertificationResult, VerificationResult, certify, verify
from advlab.api.command_line import run
from advlab.api.evaluating import EvaluationResult, SuiteRow, evaluate
from advlab.api.loading import load_dataset, load_model

__all__ = [
    "AttackResult",
    "CertificationResult",
    "EvaluationResult",
    "SuiteRow",
    "VerificationResult",
    "attack",
    "certify",
    "evaluate",
    "load_dataset",
    "load_model",
    "run",
    "verify",
]
