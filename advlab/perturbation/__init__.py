"""What attacks share: geometry of the balls, the ascent loop, randomness, the victim, the sweep
over eps."""
