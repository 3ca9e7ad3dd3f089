"""Contrastive learning: two views of each image, and a loss that finds which belong together."""
