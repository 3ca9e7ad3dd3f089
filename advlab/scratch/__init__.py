"""A network by hand, in NumPy, without torch. A name after ``advlab scratch`` is a file name
here."""
