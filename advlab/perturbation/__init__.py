"""What attacks share: geometry, goals, gradient ascent, random numbers and the sweep over ε."""
