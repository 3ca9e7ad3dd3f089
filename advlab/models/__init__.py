"""One file per network. A name on the command line is a file name here."""
