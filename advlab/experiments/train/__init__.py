"""``advlab train``: train a network and measure it on the test set."""
