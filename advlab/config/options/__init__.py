"""The options of each command; importing them does not import torch."""
