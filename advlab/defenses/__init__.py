"""Defences: what each changes in a training, or puts in front of a network. A name is a file
name."""
