"""What is done to training data: whose rows, which of them, and what becomes of them."""
