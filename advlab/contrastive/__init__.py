"""Contrastive learning (SimCLR): encoders, loss, training and evaluation."""
