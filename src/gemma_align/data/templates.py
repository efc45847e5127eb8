"""From an example to token ids: the prompt format belongs to the checkpoint.

plain   what a base checkpoint can read: the request, a cue such as "Clinical note:", a newline; responses end in the
        tokenizer's end of sequence (`<eos>`). A conversation is written as Human: / Assistant: paragraphs.
chat    Gemma 3's turns, `<start_of_turn>user … <end_of_turn>`; responses end in `<end_of_turn>`.

Every prompt starts with exactly one BOS. Prompt and response are tokenized separately, so the ids that are trained on
are the ids that sampling continues. What a user wrote is never read as a control token: "<eos>" in a dialogue is five
characters of text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gemma_align.errors import ConfigError, DataError
from gemma_align.types import Example, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

START, END = "<start_of_turn>", "<end_of_turn>"
CONVERSATION_CUE = "Assistant:"
_NAMES = {"user": "Human", "assistant": "Assistant"}


@dataclass(frozen=True)
class PromptFormat:
    """How one tokenizer's prompts are written. `choose_format` makes one.

    end_id     the token that closes every response
    stop_ids   tokens at which sampling stops: `<eos>` and `<end_of_turn>`, whichever the tokenizer has
    stubborn   control tokens that this tokenizer finds in any text, because it doesn't list them as special
    """

    name: Literal["plain", "chat"]
    tokenizer: "PreTrainedTokenizerBase"
    bos_id: int
    end_id: int
    stop_ids: frozenset[int]
    stubborn: tuple[str, ...] = ()

    def prompt_ids(self, example: Example) -> tuple[int, ...]:
        """The prompt as ids, one BOS first and nowhere else, up to where the response starts."""
        ids: list[int] = []
        for text, ours in self._pieces(example):
            ids += self._ids(text) if ours else self._user_ids(text)
        if ids and ids[0] == self.bos_id:  # some chat templates write it themselves
            del ids[0]
        return (self.bos_id, *ids)

    def response_ids(self, text: str) -> tuple[int, ...]:
        """The response as ids, closed by the end token."""
        return (*self._user_ids(text), self.end_id)

    def prompt_text(self, example: Example) -> str:
        """The prompt as it will be read, for people; control tokens are written out."""
        return "".join(text for text, _ in self._pieces(example))

    def decode(self, ids: Sequence[int]) -> str:
        """A response as text, without the end token and anything after it."""
        kept = list(ids)
        for i, token in enumerate(kept):
            if token in self.stop_ids:
                kept = kept[:i]
                break
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _user_ids(self, text: str) -> list[int]:
        """The ids of text in which nothing is a control token, whatever it looks like."""
        parts = [text]
        for control in self.stubborn:
            parts = [piece for part in parts for piece in _cut_in_two(part, control)]
        return [
            token
            for part in parts
            for token in self.tokenizer(part, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        ]

    def _pieces(self, example: Example) -> list[tuple[str, bool]]:
        """Text and whether it is the format's own (may hold control tokens) or a user's (may not)."""
        if self.name == "plain":
            return [(plain_prompt(example), False)]
        turns = [*example.history, Turn("user", example.prompt)]
        return _template_pieces(self.tokenizer, turns) if self.tokenizer.chat_template else _gemma_pieces(turns)


def _cut_in_two(text: str, control: str) -> list[str]:
    """The text in parts of which none holds the control token: each is parted after its first character."""
    first, *rest = text.split(control)
    parts = [first]
    for part in rest:
        parts[-1] += control[:1]
        parts.append(control[1:] + part)
    return [part for part in parts if part]


def plain_prompt(example: Example) -> str:
    """The plain-text form. It ends in a newline: the response starts a line of its own.

    With a history, or the cue "Assistant:", every turn is a paragraph that starts with its speaker's name.
    """
    if example.history or example.cue == CONVERSATION_CUE:
        turns = [*example.history, Turn("user", example.prompt)]
        body = "\n\n".join(f"{_NAMES[turn.role]}: {turn.content.strip()}" for turn in turns)
    else:
        body = example.prompt
    cue = example.cue or (CONVERSATION_CUE if example.history else "")
    if cue:
        body += ("" if body.endswith("\n") else "\n\n") + cue
    return body if body.endswith("\n") else body + "\n"


def _gemma_pieces(turns: Sequence[Turn]) -> list[tuple[str, bool]]:
    """Gemma 3's template, without the BOS."""
    pieces = []
    for turn in turns:
        role = "model" if turn.role == "assistant" else turn.role
        pieces += [(f"{START}{role}\n", True), (turn.content.strip(), False), (f"{END}\n", True)]
    return [*pieces, (f"{START}model\n", True)]


def _template_pieces(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Turn]) -> list[tuple[str, bool]]:
    """The tokenizer's own template around the contents, which are kept apart by characters of the private use area."""
    marks = [f"\ue000{i}\ue001" for i in range(len(turns))]
    messages = [{"role": turn.role, "content": mark} for turn, mark in zip(turns, marks, strict=True)]
    rest = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    pieces = []
    for turn, mark in zip(turns, marks, strict=True):
        before, found, rest = rest.partition(mark)
        if not found:
            raise ConfigError(
                "the tokenizer's chat template doesn't repeat every turn's text as it is: "
                "this package can't use it. Give model.prompt_format=plain, or another checkpoint"
            )
        pieces += [(before, True), (turn.content.strip(), False)]
    return [*pieces, (rest, True)]


def choose_format(name: str, tokenizer: "PreTrainedTokenizerBase") -> PromptFormat:
    """The format of that name; "auto" is chat where the tokenizer has a chat template, plain where it has none.

    Raises ConfigError for a tokenizer that lacks the tokens the format needs.
    """
    if name not in ("auto", "plain", "chat"):
        raise ConfigError(f"model.prompt_format={name!r}: auto, plain or chat was wanted")
    chat = bool(tokenizer.chat_template) if name == "auto" else name == "chat"
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    start, end = _token_id(tokenizer, START), _token_id(tokenizer, END)
    if not isinstance(bos, int) or not isinstance(eos, int):
        raise ConfigError("the tokenizer names no start or no end of sequence (bos_token, eos_token): Gemma's has both")
    if chat and (end is None or (start is None and not tokenizer.chat_template)):
        raise ConfigError(
            f"model.prompt_format=chat needs the tokens {START} and {END}, which the tokenizer doesn't have: "
            "give model.prompt_format=plain, or a Gemma 3 checkpoint"
        )
    stops = {eos, _token_id(tokenizer, "<eos>"), end} - {None}
    controls = {str(token) for token in tokenizer.all_special_tokens} | {START, END, "<eos>", "<bos>"}
    stubborn = (
        control
        for control in sorted(controls)
        if _token_id(tokenizer, control)
        in tokenizer(control, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    )
    return PromptFormat(
        name="chat" if chat else "plain",
        tokenizer=tokenizer,
        bos_id=bos,
        end_id=end if chat and end is not None else eos,
        stop_ids=frozenset(token for token in stops if token is not None),
        stubborn=tuple(stubborn),
    )


def _token_id(tokenizer: "PreTrainedTokenizerBase", token: str) -> int | None:
    found = tokenizer.get_vocab().get(token)
    return found if isinstance(found, int) else None


@dataclass(frozen=True, slots=True)
class Fitted:
    """Ids that fit, and how many tokens were left out to make them fit."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    prompt_cut: int = 0
    response_cut: int = 0

    @property
    def was_cut(self) -> bool:
        """Something was left out; where `response_cut` is not 0 the end token is gone as well."""
        return bool(self.prompt_cut or self.response_cut)


def fit(
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    max_length: int,
    *,
    example_id: str = "",
    refuse: bool = False,
) -> Fitted:
    """Prompt and response in at most `max_length` tokens together.

    The rule: the prompt gives way first, in its middle. It keeps the BOS, its first tokens (a quarter of its room, at
    most 32: what to do) and its end (the cue and what stands before it). It never shrinks below a quarter of
    `max_length`; only then does the response lose its end, and with it the end token.
    With `refuse`, or where `max_length` is under 8, a DataError names the example instead.
    """
    over = len(prompt_ids) + len(response_ids) - max_length
    if over <= 0:
        return Fitted(tuple(prompt_ids), tuple(response_ids))
    if refuse or max_length < 8:
        raise DataError(
            f"example {example_id!r} has {len(prompt_ids)} + {len(response_ids)} tokens (prompt + response), "
            f"at most {max_length} fit: shorten it, or raise model.max_length"
        )
    room = min(len(prompt_ids), max(max_length - len(response_ids), max_length // 4))
    head = min(32, room // 4) or 1
    prompt = (*prompt_ids[:head], *prompt_ids[len(prompt_ids) - (room - head) :])
    if room == len(prompt_ids):
        prompt = tuple(prompt_ids)
    response = tuple(response_ids[: max_length - room])
    return Fitted(prompt, response, len(prompt_ids) - len(prompt), len(response_ids) - len(response))
