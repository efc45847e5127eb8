"""transformers' `generate`, batched, and the scoring of given responses by a plain forward pass."""

import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from benchmarks.programs.child import serve, versions

PAD = 0


def left_padded(prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, (prompts, longest)."""
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask


def sample(model: Any, job: dict[str, Any], num_tokens: int) -> torch.Tensor:
    """(prompts x num_samples, num_tokens) drawn from the whole distribution at temperature 1; nothing stops early."""
    ids, mask = left_padded(job["prompts"])
    config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=num_tokens,
        num_return_sequences=job["num_samples"],
        pad_token_id=PAD,
        eos_token_id=None,
        cache_implementation=job["cache"],
        use_cache=True,
    )
    extra: dict[str, Any] = {}
    if job["shared_prompt"]:  # the documented way to reuse a prompt's cache, here for all samples of the prompt
        before = mask[:, :-1]
        positions = (before.cumsum(dim=1) - 1).clamp(min=0)  # as `generate` does; the forward pass counts padding too
        past = model(
            input_ids=ids[:, :-1], attention_mask=before, position_ids=positions, use_cache=True, logits_to_keep=1
        ).past_key_values
        past.batch_repeat_interleave(job["num_samples"])
        ids, mask = (t.repeat_interleave(job["num_samples"], dim=0) for t in (ids, mask))
        config.num_return_sequences = 1
        extra["past_key_values"] = past
    out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, **extra)
    return out[:, ids.shape[1] :]


def score(model: Any, job: dict[str, Any]) -> list[float]:
    """Mean log-probability of each given response."""
    found = []
    for row, response in enumerate(job["responses"]):
        prompt = job["prompts"][row // job["num_samples"]]
        logits = model(input_ids=torch.tensor([prompt + response[:-1]]), logits_to_keep=len(response)).logits[0]
        logprobs = torch.log_softmax(logits.double(), -1).gather(1, torch.tensor(response)[:, None])
        found.append(logprobs.mean().item())
    return found


@torch.no_grad()
def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, prompts, num_samples, num_tokens, cache, shared_prompt, and responses where they are to be scored."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, attn_implementation="sdpa").eval()
    model.generation_config.eos_token_id = None  # else `generate` takes it from there
    facts = {
        "settings": {
            "precision": "float32",
            "attn_implementation": "sdpa",
            "cache_implementation": job["cache"] or "dynamic (the default)",
            "prompt": "computed once a prompt, cache repeated" if job["shared_prompt"] else "num_return_sequences",
            "sampler": "do_sample, top_k=0, top_p=1, temperature 1",
            "threads": torch.get_num_threads(),
        },
        "versions": versions("transformers", "torch"),
    }
    if job.get("responses"):
        return {"seconds": 0.0, "logprobs": score(model, job), **facts}
    sample(model, job, 3)
    started = time.perf_counter()
    tokens = sample(model, job, job["num_tokens"])
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": tokens.numel(), "sample": tokens[0].tolist(), **facts}


if __name__ == "__main__":
    serve(main)
