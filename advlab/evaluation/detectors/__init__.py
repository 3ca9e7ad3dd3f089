"""Detectors of adversarial images, one file each. The file name is the name for ``--detector``."""
