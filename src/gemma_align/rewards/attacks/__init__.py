"""Attacks on a reward before anything is trained on it: systematic exploits, searched ones, and how many succeed."""
