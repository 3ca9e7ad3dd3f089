"""Data sets: images and texts by name, the file formats that they come in, and downloads."""
