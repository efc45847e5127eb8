"""Preference pairs where none are published: what is rejected is made or chosen here. Pure functions."""
