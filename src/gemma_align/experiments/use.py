"""Using what a run made: answering prompts, and a conversation in the terminal."""

from collections.abc import Callable, Sequence
from pathlib import Path

from gemma_align.config import ModelConfig, load_config
from gemma_align.data.tasks import TASKS
from gemma_align.data.templates import CONVERSATION_CUE
from gemma_align.errors import UserError
from gemma_align.models.policy import Policy
from gemma_align.types import Example, Sampling, Turn


def generate_text(
    run: str,
    prompts: Sequence[str],
    *,
    max_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    base: bool = False,
) -> list[str]:
    """One response to each prompt.

    Args:
        run: a run folder, or a checkpoint as `model.checkpoint` takes it.
        prompts: what to answer. In plain text the cue of the run's task is put after it, as it was in training.
        max_tokens: of each response.
        temperature: 0 is greedy.
        seed: of the sampling.
        base: leave the run's adapter out.

    Raises:
        UserError: an empty prompt, or a model that can't be loaded.
    """
    if not all(prompt.strip() for prompt in prompts):
        raise UserError("the prompt is empty; wanted some text to answer")
    policy, cue = _open(run, base)
    examples = [_example(str(n), prompt, cue) for n, prompt in enumerate(prompts)]
    rollouts = policy.generate(examples, 1, Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed))
    return list(rollouts.texts)


def chat(
    run: str,
    *,
    max_tokens: int = 256,
    temperature: float = 0.7,
    seed: int = 0,
    base: bool = False,
    ask: Callable[[str], str] = input,
    say: Callable[[str], None] = print,
) -> None:
    """Take turns with the model until the input ends; it sees the whole conversation each time.

    Args:
        run: as for `generate_text`, and so are the others.
        max_tokens: of each response.
        temperature: 0 is greedy.
        seed: of the first response; each later one takes the next number.
        base: leave the run's adapter out.
        ask: gives the user's next line, EOFError where there is none.
        say: shows a line.
    """
    policy, cue = _open(run, base)
    say("Ctrl-D ends the conversation.")
    history: tuple[Turn, ...] = ()
    while True:
        try:
            prompt = ask("> ").strip()
        except EOFError:
            return
        if not prompt:
            continue
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed + len(history) // 2)
        example = _example("chat", prompt, cue or CONVERSATION_CUE, history)
        (answer,) = policy.generate([example], 1, sampling).texts
        say(answer)
        history += (Turn("user", prompt), Turn("assistant", answer))


def _open(run: str, base: bool) -> tuple[Policy, str]:
    """The policy of a run or a checkpoint, and the cue that its task closes plain-text prompts with."""
    folder = Path(run).expanduser()
    if (folder / "config.yml").is_file():
        config = load_config(folder / "config.yml")
        return Policy.from_run(folder, base=base), TASKS[config.task].cue
    return Policy.load(ModelConfig(checkpoint=run, lora=None)), ""


def _example(name: str, prompt: str, cue: str, history: tuple[Turn, ...] = ()) -> Example:
    given = prompt.rstrip()
    if cue and given.endswith(cue):  # the user wrote it already
        given = given.removesuffix(cue).rstrip()
    return Example(id=name, prompt=given, cue=cue, history=history)
