"""One file per detector of triggered inputs: from images to a suspicion score for each."""
