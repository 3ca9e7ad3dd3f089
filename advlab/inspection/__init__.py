"""What can be looked at in a network: a file for each way of looking."""
