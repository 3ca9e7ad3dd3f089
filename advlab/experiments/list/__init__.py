"""``advlab list``: components, data sets, recipes and finished runs."""
