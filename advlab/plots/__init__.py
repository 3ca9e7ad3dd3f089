"""Figures in one style, drawn from numbers. Nothing here runs a network."""
