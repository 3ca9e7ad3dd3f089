"""A game of two networks: its losses, its loop, its alarm. A name after ``advlab gan`` is a file
name here."""
