"""``advlab compare``."""
