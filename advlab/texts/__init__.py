"""One file per set of texts with labels. A name after ``--dataset`` of a text model is a file name here."""
