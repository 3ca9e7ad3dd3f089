"""Training of classifiers: the fit loop, objectives and schedules."""
