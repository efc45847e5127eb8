"""Compare ways of aligning Gemma 3 270M at equal budget, and see whether the reward is hacked."""

__version__ = "0.1.0"
