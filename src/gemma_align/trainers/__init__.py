"""The training loop and the algorithms that run on it."""
