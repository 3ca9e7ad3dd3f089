"""One file per data set of images. ``--dataset NAME`` loads the file NAME.py."""
