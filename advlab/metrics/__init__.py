"""Metrics computed from tensors. Nothing here runs a network."""
