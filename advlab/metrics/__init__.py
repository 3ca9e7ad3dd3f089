"""Metrics computed from tensors, without running a network."""
