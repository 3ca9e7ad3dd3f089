"""One folder per command, and what several commands share: grids of runs, trainings, target
networks."""
