"""``advlab export``."""
