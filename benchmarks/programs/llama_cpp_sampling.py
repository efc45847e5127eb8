"""llama.cpp, batched: a prompt is computed once, its cache is shared by all its samples, all samples step together.

Words are drawn in numpy from the whole distribution at temperature 1. llama.cpp's own `dist` sampler draws from the
same one, but took several times as long as the model's whole step over 262,144 words.
"""

import time
from typing import Any

import llama_cpp as lib
import numpy as np

from benchmarks.programs.child import serve, versions

KV_TYPES = {"f32": lib.GGML_TYPE_F32, "f16": lib.GGML_TYPE_F16}
BLOCKS = 512  # of the vocabulary


class Engine:
    """A model, a context with room for all sequences, and one batch that is filled again and again."""

    def __init__(self, job: dict[str, Any], num_rows: int, num_tokens: int) -> None:
        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        self.model = lib.llama_model_load_from_file(job["gguf"].encode(), params)
        if not self.model:
            raise RuntimeError(f"llama.cpp can't load {job['gguf']}")
        self.vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        context = lib.llama_context_default_params()
        longest = max(len(prompt) for prompt in job["prompts"])
        context.n_ctx = -(-(sum(map(len, job["prompts"])) + num_rows * num_tokens + 64) // 256) * 256
        context.n_batch = context.n_ubatch = max(512, num_rows, longest)
        context.n_seq_max = num_rows
        if not job.get("responses"):
            context.n_outputs_max = num_rows  # without it there is room for n_batch rows of logits
        context.n_threads = context.n_threads_batch = job["threads"]
        context.type_k = context.type_v = KV_TYPES[job["kv"]]
        context.kv_unified = True  # what lets several sequences share a prompt's cells
        context.no_perf = True
        self.context = lib.llama_init_from_model(self.model, context)
        if not self.context:
            raise RuntimeError("llama.cpp can't make a context")
        self.memory = lib.llama_get_memory(self.context)
        self.batch = lib.llama_batch_init(context.n_batch, 0, 1)

    def decode(self, tokens: list[int], positions: list[int], sequences: list[int], wanted: list[bool]) -> None:
        """One pass over the given tokens."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, want) in enumerate(zip(tokens, positions, sequences, wanted, strict=True)):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, want
        code = lib.llama_decode(self.context, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode gave {code}")

    def logits(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The logits of batch entry `index`, a view that the next decode overwrites."""
        return np.ctypeslib.as_array(lib.llama_get_logits_ith(self.context, index), (self.vocab_size,))


def draw(logits: np.ndarray[Any, Any], random: np.random.Generator, scratch: np.ndarray[Any, Any]) -> int:
    """One word from softmax(logits): inverse of the cumulative distribution, first over blocks, then within one."""
    np.subtract(logits, logits.max(), out=scratch)
    np.exp(scratch, out=scratch)
    blocks = scratch.reshape(BLOCKS, -1) if len(scratch) % BLOCKS == 0 else scratch.reshape(1, -1)
    cumulative = np.cumsum(blocks.sum(axis=1, dtype=np.float64))
    target = random.random() * cumulative[-1]
    block = min(int(np.searchsorted(cumulative, target, side="right")), len(blocks) - 1)
    within = np.cumsum(blocks[block], dtype=np.float64)
    rest = target - (cumulative[block - 1] if block else 0.0)
    return block * blocks.shape[1] + min(int(np.searchsorted(within, rest, side="right")), blocks.shape[1] - 1)


def sample(engine: Engine, job: dict[str, Any], num_tokens: int, random: np.random.Generator) -> list[list[int]]:
    """`num_samples` of `num_tokens` for every prompt; nothing stops early."""
    group, prompts = job["num_samples"], job["prompts"]
    num_rows = group * len(prompts)
    lib.llama_memory_clear(engine.memory, True)
    scratch = np.empty(engine.vocab_size, np.float32)

    def choose(index: int) -> int:
        return draw(engine.logits(index), random, scratch)

    tokens: list[list[int]] = [[] for _ in range(num_rows)]
    for p, prompt in enumerate(prompts):
        size, last = len(prompt), len(prompt) - 1
        engine.decode(prompt, list(range(size)), [p * group] * size, [i == last for i in range(size)])
        for row in range(p * group, (p + 1) * group):
            if row != p * group:
                lib.llama_memory_seq_cp(engine.memory, p * group, row, -1, -1)
            tokens[row].append(choose(last))
    lengths = [len(prompts[row // group]) for row in range(num_rows)]
    for step in range(num_tokens - 1):
        engine.decode(
            [row[-1] for row in tokens], [n + step for n in lengths], list(range(num_rows)), [True] * num_rows
        )
        for row in range(num_rows):
            tokens[row].append(choose(row))
    return tokens


def score(engine: Engine, job: dict[str, Any]) -> list[float]:
    """Mean log-probability of each given response."""
    found = []
    for row, response in enumerate(job["responses"]):
        prompt = job["prompts"][row // job["num_samples"]]
        lib.llama_memory_clear(engine.memory, True)
        ids = prompt + response[:-1]
        first = len(prompt) - 1
        engine.decode(ids, list(range(len(ids))), [0] * len(ids), [i >= first for i in range(len(ids))])
        total = 0.0
        for t, token in enumerate(response):
            logits = engine.logits(first + t).astype(np.float64)
            total += logits[token] - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        found.append(total / len(response))
    return found


def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: gguf, kv, prompts, num_samples, num_tokens, threads, and responses where they are to be scored."""
    num_rows = job["num_samples"] * len(job["prompts"])
    longest = job["num_tokens"] if not job.get("responses") else max(map(len, job["responses"]))
    engine = Engine(job, num_rows, longest + 8)
    settings = {
        "weights": job["weights"],
        "kv_cache": job["kv"],
        "threads": job["threads"],
        "sequences": num_rows,
        "prompt": "computed once, cache shared by its samples (llama_memory_seq_cp, unified cache)",
        "sampler": "numpy, whole distribution, temperature 1",
        "system": lib.llama_print_system_info().decode(),
    }
    facts = {"settings": settings, "versions": versions("llama-cpp-python", "numpy")}
    if job.get("responses"):
        return {"seconds": 0.0, "logprobs": score(engine, job), **facts}
    random = np.random.default_rng(0)
    sample(engine, job, 3, random)  # the first pass touches the weights and makes the buffers
    started = time.perf_counter()
    tokens = sample(engine, job, job["num_tokens"], random)
    return {"seconds": time.perf_counter() - started, "tokens": sum(map(len, tokens)), "sample": tokens[0], **facts}


if __name__ == "__main__":
    serve(main)
