"""One file per repair: from a network with a backdoor to one without it."""
