"""Run folders, grids of runs, and what is written in them."""
