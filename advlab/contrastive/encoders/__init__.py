"""One file per encoder, a network from images to features. A name after ``--encoder`` is a file
name here."""
