"""What the networks of every command share: how they lie in memory, and which weights from a file
are taken."""
