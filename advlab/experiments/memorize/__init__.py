"""``advlab memorize``: train on random labels."""
