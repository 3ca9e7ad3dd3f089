"""What the networks of every command share: how they lie in memory."""
