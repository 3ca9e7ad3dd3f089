"""Numbers from tensors. Nothing here runs a network."""
