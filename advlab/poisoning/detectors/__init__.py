"""One file per detection method: from training rows with their labels to a suspicion score for
each."""
