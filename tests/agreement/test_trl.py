"""Losses and gradients are TRL's, on the same tiny model and batch, to 1e-5 in float32.

TRL 1.12 is the last release that has all the methods. It is a development dependency only.
"""

import copy
from pathlib import Path

import pytest
import torch

from gemma_align.config import LoraConfig, ModelConfig, RewardConfig, RLConfig
from gemma_align.config.methods import DPOConfig, GRPOConfig, PPOConfig
from gemma_align.core.preference import bradley_terry_loss, centring_penalty
from gemma_align.data.collate import Encoder, PairEncoder
from gemma_align.models.checkpoints import load_checkpoint
from gemma_align.models.policy import Policy, add_lora
from gemma_align.models.reference import Reference
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.trainers.dpo import DPO
from gemma_align.trainers.grpo import GRPO
from gemma_align.trainers.ppo import PPO
from gemma_align.trainers.rollouts import Roller
from gemma_align.trainers.sft import SFT
from gemma_align.types import Answer, Example, Totals

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's warnings aren't about us
trl = pytest.importorskip("trl", reason="TRL isn't installed (pip install -e '.[dev]' has it)")

PAIRS = [
    Example(str(i), "say it " * (1 + i % 5), f"it is {i} " * (1 + i % 3), rejected=f"no {i}, never", cue="Answer:")
    for i in range(6)
]
QUIET = {"report_to": [], "use_cpu": True, "per_device_train_batch_size": 6, "max_length": None, "bf16": False}


@pytest.fixture
def policy() -> Policy:
    """All weights trained, none at its start, so that no term is 0 by chance."""
    policy = Policy.load(ModelConfig(checkpoint="tiny", lora=None, device="cpu"))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(0.05 * weight.std() * torch.randn_like(weight))
    return policy


def twin(policy: Policy):
    """Transformers' own model with the policy's weights and none of our changes to how it computes."""
    model = load_checkpoint("tiny", device="cpu", dtype=torch.float32).model
    model.load_state_dict(policy.causal_lm.state_dict())
    model.config._attn_implementation = "eager"
    return model.train()


def moved(policy: Policy) -> Policy:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(0.1 * weight.std() * torch.randn(weight.shape, generator=generator))
    return policy


def require_equal_gradients(policy: Policy, model) -> None:
    theirs = dict(model.named_parameters())
    compared = 0
    for name, weight in policy.causal_lm.named_parameters():
        assert weight.grad is not None, name
        torch.testing.assert_close(weight.grad, theirs[name].grad, rtol=1e-4, atol=1e-6, msg=name)
        compared += 1
    assert compared == len(theirs)


def rows():
    return trl_dataset([{"prompt": "a", "chosen": "b", "rejected": "c", "completion": "b"}])


def trl_dataset(records):
    from datasets import Dataset

    return Dataset.from_list(records)


def test_sft(policy: Policy, tmp_path: Path) -> None:
    sft = SFT(policy, Encoder(policy.prompt_format, 512))
    batch = sft.prepare(PAIRS)
    loss, _ = sft.loss(batch, Totals(float(batch.responses.mask.sum()), len(PAIRS)))
    loss.backward()

    model = twin(policy)
    records = [
        {"input_ids": [*prompt, *response], "completion_mask": [0] * len(prompt) + [1] * len(response)}
        for prompt, response in ((f.prompt_ids, f.response_ids) for f in map(sft.encode.fit, PAIRS))
    ]
    trainer = trl.SFTTrainer(
        model,
        args=trl.SFTConfig(output_dir=str(tmp_path), completion_only_loss=True, **QUIET),
        train_dataset=trl_dataset(records),
        processing_class=policy.tokenizer,
    )
    theirs = trainer.compute_loss(model, trainer.data_collator(list(trainer.train_dataset)))
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    require_equal_gradients(policy, model)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"beta": 0.1}, {"beta": 0.1, "loss_type": ["sigmoid"]}),
        ({"beta": 0.5}, {"beta": 0.5, "loss_type": ["sigmoid"]}),
        ({"beta": 2.0, "length_normalised": True}, {"beta": 2.0, "loss_type": ["sigmoid_norm"]}),
        ({"beta": 0.2, "loss": "ipo", "length_normalised": True}, {"beta": 0.2, "loss_type": ["ipo"]}),
    ],
    ids=["sigmoid", "larger beta", "per token", "ipo"],
)
def test_dpo(policy: Policy, tmp_path: Path, ours, theirs) -> None:
    reference, start = twin(policy).eval(), Reference(policy.trainable())
    moved(policy)
    dpo = DPO(policy, start, PairEncoder(Encoder(policy.prompt_format, 512)), DPOConfig(**ours))
    with torch.no_grad():
        batch = dpo.prepare(PAIRS)
    loss, metrics = dpo.loss(batch, Totals(1.0, 2.0 * len(PAIRS)))
    loss.backward()

    model = twin(policy)
    trainer = trl.DPOTrainer(
        model,
        ref_model=reference,
        args=trl.DPOConfig(output_dir=str(tmp_path), gradient_checkpointing=False, **QUIET, **theirs),
        train_dataset=rows(),
        processing_class=policy.tokenizer,
    )
    fitted = [dpo.encode.fit(pair) for pair in PAIRS]
    records = [
        {
            "prompt_ids": list(chosen.prompt_ids),
            "chosen_ids": list(chosen.response_ids),
            "rejected_ids": list(rejected.response_ids),
        }
        for chosen, rejected in fitted
    ]
    value = trainer.compute_loss(model, trainer.data_collator(records))
    value.backward()
    assert loss.item() == pytest.approx(value.item(), abs=1e-5)
    assert metrics["reward/accuracy"] not in (0.0, 1.0)  # the batch has something of both
    require_equal_gradients(policy, model)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"loss": "response"}, {"loss_type": "grpo"}),
        ({"loss": "token"}, {"loss_type": "bnpo"}),
        ({"loss": "constant"}, {"loss_type": "dr_grpo"}),
        ({"loss": "token", "clip_eps_high": 0.4}, {"loss_type": "bnpo", "epsilon_high": 0.4}),
        ({"loss": "response", "ratio": "sequence"}, {"loss_type": "grpo", "importance_sampling_level": "sequence"}),
    ],
    ids=["response", "token", "constant", "higher clip", "sequence"],
)
def test_grpo(policy: Policy, tmp_path: Path, ours, theirs) -> None:
    """From the same rollouts, with a policy that has moved since; theirs with its bias correction of the divergence,
    which with ratios of sequences is of sequences too and then not the divergence's: compared without one there."""
    eps, kl_coef = (0.02, 0.0) if "ratio" in ours else (0.2, 0.1)  # ratios of sequences move less; some have to be cut
    rl = RLConfig(group_size=3, max_response_tokens=8, kl_coef=kl_coef, clip_eps=eps)
    terms = {"length": (lambda example, answer: len(answer.text), 1.0)}
    reward = HybridReward("clinical", RewardConfig(alpha=0.0, beta=0.0), None, terms=terms)
    roller = Roller(policy, Reference(policy.trainable()), reward, rl, seed=0)
    grpo = GRPO(policy, roller, rl, GRPOConfig(**ours))
    with torch.no_grad():
        batch = grpo.prepare(PAIRS[:2])
    moved(policy)
    size = float(batch.responses.mask.sum())
    loss, metrics = grpo.loss(batch, Totals(size, float(len(batch))))
    loss.backward()
    assert metrics["policy/clip_low"] + metrics["policy/clip_high"] > 0
    assert metrics["policy/moved"] > 0

    model = twin(policy)
    trainer = trl.GRPOTrainer(
        model,
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            num_generations=3,
            max_completion_length=8,
            beta=0.0,  # or it would look for the reference model by name
            epsilon=eps,
            use_bias_correction_kl=True,
            gradient_checkpointing=False,
            **{name: value for name, value in QUIET.items() if name != "max_length"},
            **theirs,
        ),
        train_dataset=rows(),
        processing_class=policy.tokenizer,
    )
    trainer.current_gradient_accumulation_steps, trainer.beta = 1, kl_coef
    prompts = [batch.responses.prompt_ids[p] for p in batch.responses.prompt_of.tolist()]
    width = max(map(len, prompts))
    inputs = {
        "prompt_ids": torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts]),
        "prompt_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
        "completion_ids": batch.responses.ids,
        "completion_mask": batch.responses.mask.long(),
        "advantages": batch.advantages,
        "old_per_token_logps": batch.old_logprobs,
        "ref_per_token_logps": batch.ref_logprobs,
    }
    value = trainer.compute_loss(model, inputs)
    value.backward()
    assert loss.item() == pytest.approx(value.item(), abs=1e-5)
    require_equal_gradients(policy, model)


def test_bradley_terry(policy: Policy, tmp_path: Path) -> None:
    """Their trainer on a model that gives scores; ours on the same scores."""
    from transformers import Gemma3TextConfig, Gemma3TextForSequenceClassification

    config = copy.deepcopy(policy.causal_lm.config)
    config.num_labels, config.pad_token_id = 1, policy.tokenizer.pad_token_id
    assert isinstance(config, Gemma3TextConfig)
    torch.manual_seed(0)
    model = Gemma3TextForSequenceClassification(config)
    trainer = trl.RewardTrainer(
        model,
        args=trl.RewardConfig(
            output_dir=str(tmp_path), center_rewards_coefficient=0.01, gradient_checkpointing=False, **QUIET
        ),
        train_dataset=rows(),
        processing_class=policy.tokenizer,
    )
    speaks = policy.prompt_format
    records = [
        {
            "chosen_ids": [*speaks.prompt_ids(e), *speaks.response_ids(e.response or "")],
            "rejected_ids": [*speaks.prompt_ids(e), *speaks.response_ids(e.rejected or "")],
        }
        for e in PAIRS
    ]
    inputs = trainer.data_collator(records)
    theirs = trainer.compute_loss(model, inputs)
    known = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    chosen, rejected = model(**known).logits.view(2, -1, 1)
    loss = bradley_terry_loss(chosen, rejected, torch.zeros(len(PAIRS)), 0.0).mean()
    loss = loss + 0.01 * centring_penalty(chosen, rejected).mean()
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("critic", ["trunk", "own"])
def test_ppo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, critic) -> None:
    """Their whole `train` on scripted rollouts, two steps of plain gradient descent: the same weights afterwards.

    The responses fill their width: where one ends earlier, theirs puts the score one place after its end.
    """
    from trl.experimental.ppo import PPOConfig as TheirConfig
    from trl.experimental.ppo import PPOTrainer, ppo_trainer

    lora = None if critic == "trunk" else LoraConfig(r=4)
    torch.manual_seed(0)
    policy = moved(Policy.load(ModelConfig(checkpoint="tiny", lora=lora, device="cpu")))
    trained_moved(policy)
    rl = RLConfig(num_prompts=3, group_size=2, max_response_tokens=5, kl_coef=0.3, temperature=1.3)
    reward = HybridReward("clinical", RewardConfig(alpha=0.0, beta=0.0), None, terms={"length": (text_length, 1.0)})
    settings = PPOConfig(critic=critic, gamma=0.95, gae_lambda=0.9, value_coef=0.2)
    ppo = PPO(policy, Roller(policy, Reference(policy.trainable()), reward, rl, seed=0), rl, settings, seed=0)

    def theirs():
        """The policy as transformers and PEFT have it."""
        model = load_checkpoint("tiny", device="cpu", dtype=torch.float32).model
        model.config._attn_implementation = "eager"
        model = model if lora is None else add_lora(model, ModelConfig(checkpoint="tiny", lora=lora))
        model.load_state_dict(policy.model.state_dict())
        return model

    ref_model = theirs().eval()
    trained_moved(policy)  # away from the reference
    policy.prompt_format = Endless(policy.prompt_format)
    batch = ppo.prepare(PAIRS[:3])
    assert bool(batch.responses.mask.all())
    assert abs(ppo.told()[0]["policy/kl_k1"]) > 0.01
    model = theirs()
    value_model = their_critic(ppo, model)

    responses = batch.responses
    prompts = [responses.prompt_ids[p] for p in responses.prompt_of.tolist()]
    width, pad = max(map(len, prompts)), policy.tokenizer.pad_token_id
    queries = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    sequences = torch.cat([queries, responses.ids], dim=1)
    scores = ppo.roller.reward.score(*scored_again(ppo, batch)).total
    original = ppo_trainer.get_reward

    def scripted(wrapped, *args):
        with torch.no_grad():
            logits = ppo_trainer.forward(wrapped, sequences, pad).logits[:, width - 1 : -1]
        return sequences, logits / 1.3

    monkeypatch.setattr(ppo_trainer, "batch_generation", scripted)
    monkeypatch.setattr(
        ppo_trainer, "get_reward", lambda m, *args: (None, scores, None) if m is judge else original(m, *args)
    )
    judge = torch.nn.Identity()
    wrapped = ppo_trainer.PolicyAndValueWrapper(model, value_model)
    descent = torch.optim.SGD([weight for weight in wrapped.parameters() if weight.requires_grad], lr=0.05)
    trainer = PPOTrainer(
        TheirConfig(
            output_dir=str(tmp_path),
            report_to=[],
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=len(batch),
            gradient_accumulation_steps=1,
            total_episodes=len(batch),
            num_ppo_epochs=2,
            num_mini_batches=1,
            num_sample_generations=0,
            response_length=5,
            temperature=1.3,
            kl_coef=0.3,
            gamma=0.95,
            lam=0.9,
            vf_coef=0.2,
            save_strategy="no",
            gradient_checkpointing=False,
        ),
        policy.tokenizer,
        model,
        ref_model,
        judge,
        trl_dataset([{"input_ids": row} for row in queries.tolist()]),
        value_model,
        optimizers=(descent, torch.optim.lr_scheduler.ConstantLR(descent, factor=1.0)),
    )
    trainer.train()

    live = {**policy.trainable(), **ppo.own.weights}
    before = {name: weight.detach().clone() for name, weight in live.items()}
    told = [step_by_hand(ppo, batch, live, 0.05) for _ in range(2)]
    assert told[1]["policy/clip_low"] + told[1]["policy/clip_high"] > 0
    after = their_weights(ppo, model, value_model)
    assert after.keys() == live.keys()
    for name, weight in live.items():
        torch.testing.assert_close(
            weight.detach() - before[name], after[name].detach() - before[name], rtol=1e-4, atol=1e-6, msg=name
        )
        assert not torch.equal(weight.detach(), before[name]), name
    logged = trainer.state.log_history[0]
    mean = {name: sum(t[name] for t in told) / 2 for name in told[0]}
    assert logged["loss/policy_avg"] == pytest.approx(mean["loss/policy"], abs=1e-5)
    assert logged["loss/value_avg"] == pytest.approx(mean["loss/value"], abs=1e-5)
    assert logged["policy/entropy_avg"] == pytest.approx(mean["policy/entropy"], abs=1e-4)


def trained_moved(policy: Policy) -> None:
    """What is trained alone; an adapter's B too, which starts at 0."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(0.1 * max(float(weight.std()), 0.5) * torch.randn(weight.shape, generator=generator))


def text_length(example: Example, answer: Answer) -> float:
    return len(answer.text) / 10


class Endless:
    """A prompt format whose responses never end."""

    stop_ids = ()

    def __init__(self, inner) -> None:
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


def scored_again(ppo: PPO, batch) -> tuple[list[Example], list[Answer]]:
    responses = batch.responses
    texts = [ppo.policy.prompt_format.decode(row) for row in responses.ids.tolist()]
    return [PAIRS[p] for p in responses.prompt_of.tolist()], [Answer(text, finished=False) for text in texts]


def their_critic(ppo: PPO, model) -> torch.nn.Module:
    """A value model as their trainer takes it: `base_model_prefix` names the backbone, `score` is the head."""

    class ValueModel(torch.nn.Module):
        base_model_prefix = "model"

        def __init__(self, backbone, head) -> None:
            super().__init__()
            self.model = backbone
            self.score = torch.nn.Linear(head.weight.shape[0], 1)
            with torch.no_grad():
                self.score.weight.copy_(head.weight[None])
                self.score.bias.copy_(head.bias[None])

    if ppo.settings.critic == "trunk":
        return ValueModel(model.model, ppo.critic)
    base = load_checkpoint("tiny", device="cpu", dtype=torch.float32).model
    base.config._attn_implementation = "eager"
    config = ModelConfig(checkpoint="tiny", lora=LoraConfig(r=8, alpha=16))
    backbone = add_lora(base, config)
    frozen = {name: weight for name, weight in ppo.policy.model.state_dict().items() if "lora_" not in name}
    assert not backbone.load_state_dict(frozen, strict=False).unexpected_keys
    named = dict(backbone.named_modules())
    with torch.no_grad():
        for name, ours in ppo.critic.beside.low_rank.items():
            layer = named["base_model.model." + name.replace("/", ".")]
            layer.lora_A["default"].weight.copy_(ours.a)
            layer.lora_B["default"].weight.copy_(ours.b)
    return ValueModel(base.model, ppo.critic.head)


def their_weights(ppo: PPO, model, value_model) -> dict[str, torch.Tensor]:
    """By our names."""
    found = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    head = "critic." if ppo.settings.critic == "trunk" else "critic.head."
    found |= {head + "weight": value_model.score.weight[0], head + "bias": value_model.score.bias[0]}
    if ppo.settings.critic == "own":
        named = dict(value_model.model.named_modules())
        for name in ppo.critic.beside.low_rank:
            layer = named[name.replace("/", ".").removeprefix("model.")]
            found[f"critic.beside.low_rank.{name}.a"] = layer.lora_A["default"].weight
            found[f"critic.beside.low_rank.{name}.b"] = layer.lora_B["default"].weight
    return found


def step_by_hand(ppo: PPO, batch, live, rate: float) -> dict[str, float]:
    totals = Totals(float(batch.responses.mask.sum()), float(len(batch)))
    loss, told = ppo.loss(batch, totals)
    loss.backward()
    if ppo.own.loss is not None:
        value_loss, more = ppo.own.loss(batch, totals)
        value_loss.backward()
        told = told | more
    with torch.no_grad():
        for weight in live.values():
            weight.sub_(rate * weight.grad)
            weight.grad = None
    return told
