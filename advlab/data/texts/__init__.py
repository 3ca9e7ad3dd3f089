"""One file per text data set. ``--dataset NAME`` of a text model loads the file NAME.py."""
