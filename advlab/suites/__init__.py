"""Suites of attacks that ``advlab evaluate`` runs one after the other. A name is a file name."""
