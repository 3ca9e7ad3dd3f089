"""One file per data set of images. A name after ``--dataset`` is a file name here."""
