"""``advlab evaluate``: a suite of attacks with sanity checks, and a verdict to cite."""
