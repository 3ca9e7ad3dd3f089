"""``advlab demo``: small examples of the main commands, and a page with their results."""
