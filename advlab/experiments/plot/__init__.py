"""``advlab plot``."""
