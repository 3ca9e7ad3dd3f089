"""advlab: a command-line laboratory for adversarial machine learning."""

__version__ = "0.1.0"
