"""``advlab poison``: poison training data, measure the effect, detect the poisoned rows."""
