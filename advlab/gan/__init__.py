"""Generative adversarial networks: training, losses, measurements and the collapse monitor."""
