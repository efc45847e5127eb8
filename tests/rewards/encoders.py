"""What the encoder's tests share: a tiny policy, small settings, and pairs whose better side is told by a word."""

import random

import torch

from gemma_align.config import EncoderConfig, LoraConfig, ModelConfig
from gemma_align.models.policy import Policy
from gemma_align.types import Example, Turn

SMALL = EncoderConfig(layers=1, width=32, heads=2, max_length=64, epochs=2, feature_dropout=0.1)


def tiny_policy(lora: LoraConfig | None = LoraConfig(r=4)) -> Policy:  # noqa: B008
    torch.manual_seed(0)
    return Policy.load(ModelConfig(checkpoint="tiny", lora=lora, device="cpu"))


def told_by_a_word(count: int) -> list[Example]:
    """The chosen response says "gladly", the rejected one "never"; every third conversation has a history."""
    draw = random.Random(0)
    words = ["rain", "sun", "tea", "road", "lamp", "bird", "stone", "river", "cloud", "bread"]

    def some() -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randint(2, 9)))

    return [
        Example(
            id=f"pair-{i}",
            prompt=f"{some()} {i}?",
            response=f"{some()} gladly {some()}",
            rejected=f"{some()} never {some()}",
            history=(Turn("user", f"{some()} {i}"), Turn("assistant", some())) if i % 3 == 0 else (),
            cue="Assistant:",
        )
        for i in range(count)
    ]
