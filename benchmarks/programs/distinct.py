"""The reward of the workloads that sample: the same cheap function on both sides. Standard library only."""


def distinct_words(text: str) -> float:
    """The share of its words that stand in it for the first time; 0 where there is none."""
    words = text.split()
    return len(set(words)) / len(words) if words else 0.0
