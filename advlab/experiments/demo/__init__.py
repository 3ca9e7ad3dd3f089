"""``advlab demo``: a small example of everything and a page of its results."""
