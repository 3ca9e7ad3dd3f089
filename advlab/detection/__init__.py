"""One file per way to find poisoned rows: from training texts with their labels to a suspicion for each."""
