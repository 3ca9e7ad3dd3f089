"""``advlab remove``: delete runs."""
