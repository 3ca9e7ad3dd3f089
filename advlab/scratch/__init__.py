"""A network from scratch in NumPy, without torch."""
