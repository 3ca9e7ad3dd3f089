"""``advlab report``: one page over all finished runs."""
