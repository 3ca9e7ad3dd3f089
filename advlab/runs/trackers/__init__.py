"""Trackers that show runs, one file each. The file name is the name for ``--track``."""
