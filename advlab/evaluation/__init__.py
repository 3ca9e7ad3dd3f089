"""Evaluation of robustness: suites of attacks, sanity checks and certificates."""
