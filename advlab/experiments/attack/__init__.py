"""``advlab attack``: perturb images or a photo and measure what it does to a network."""
