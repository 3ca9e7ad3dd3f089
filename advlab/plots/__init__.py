"""Figures from numbers, in one style. Nothing here runs a network."""
