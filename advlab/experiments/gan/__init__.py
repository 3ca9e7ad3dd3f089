"""``advlab gan``: train a generator, sample from it, compare trained ones."""
