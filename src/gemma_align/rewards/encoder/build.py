"""From the settings to an encoder with fresh weights."""

import torch

from gemma_align.config import EncoderConfig
from gemma_align.models.policy import Policy
from gemma_align.rewards.encoder.backbone import Backbone
from gemma_align.rewards.encoder.gemma import Gemma
from gemma_align.rewards.encoder.gemma_embeddings import GemmaEmbeddings
from gemma_align.rewards.encoder.minilm import MiniLM
from gemma_align.rewards.encoder.model import RewardEncoder


def build_encoder(config: EncoderConfig, policy: Policy | None, *, seed: int = 0) -> RewardEncoder:
    """An encoder that hasn't been fitted. The seed sets its weights; the caller's random state is left alone.

    `policy` may be None for the backbone `minilm` alone, which then runs on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RewardEncoder(_backbone(config, policy), config.heads, config.feature_dropout)


def _backbone(config: EncoderConfig, policy: Policy | None) -> Backbone:
    if config.backbone == "minilm":
        device = torch.device("cpu") if policy is None else policy.device
        return MiniLM(trained=config.train_backbone, max_length=config.max_length, device=device)
    assert policy is not None, f"the backbone {config.backbone} stands on the policy"
    if config.backbone == "gemma":
        rank = config.lora_rank if config.train_backbone else 0
        return Gemma(policy, rank=rank, max_length=config.max_length)
    return GemmaEmbeddings(
        policy, width=config.width, layers=config.layers, dropout=config.dropout, max_length=config.max_length
    )
