"""One file per command: load, build, run, measure, draw, write."""
