"""One file per pair of generator and discriminator. A name after ``--arch`` is a file name here."""
