"""``advlab contrast``: learn features without labels and evaluate them."""
