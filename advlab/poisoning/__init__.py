"""Poisoning of training data, and its detection."""
