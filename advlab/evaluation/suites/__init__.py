"""One file per suite of attacks that ``advlab evaluate`` runs. A name is a file name here."""
