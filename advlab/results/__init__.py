"""What each command reports: one file per command, with the classes that its ``metrics.json`` files
are written from."""
