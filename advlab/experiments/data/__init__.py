"""``advlab data``: list, download and draw data sets."""
