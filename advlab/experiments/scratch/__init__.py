"""``advlab scratch``: a network in NumPy, trained and checked."""
