"""One file per data set of texts. A name after ``--dataset`` of a text model is a file name
here."""
