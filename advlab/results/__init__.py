"""The results of each command: one file per command, with the classes of ``metrics.json``."""
