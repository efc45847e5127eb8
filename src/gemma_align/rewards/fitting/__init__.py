"""Fitting an encoder to preference pairs, and what is said of one that was fitted."""
