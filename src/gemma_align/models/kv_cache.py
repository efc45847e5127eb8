"""Keys and values of rows that are sampled side by side, where all samples of a prompt share the prompt's.

    slot  one prompt: its keys and values, written once (by the prefill), read by every row that answers it
    row   one sample: the keys and values of its own tokens

A step attends to both parts: scores against the slot are one product for all rows of a slot (padded to the slot with
most rows), scores against a row's own tokens are one small product a row; one softmax goes over both. So a prompt is
neither stored nor read once a sample. Sliding layers keep only what the window can still see: the end of the prompt,
and a ring of own tokens.

Slots and rows in use stay at the front: what is given back is filled with the last one, so that products only go over
what is in use. Everything that decides about memory is allocated at the beginning.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Shape:
    """What the cache needs to know of a model. `windows` has one entry a layer; None is full attention."""

    windows: tuple[int | None, ...]
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    def num_bytes(self, prompt_tokens: int, own_tokens: int) -> int:
        """Bytes of keys and values of one prompt, or of one sample's own tokens, or both."""
        a_token = 2 * self.kv_heads * self.head_dim * self.dtype.itemsize
        return sum(a_token * (_kept(prompt_tokens, w) + _kept(own_tokens, w)) for w in self.windows)


def _kept(tokens: int, window: int | None) -> int:
    return tokens if window is None else min(tokens, window)


@dataclass(slots=True)
class _Store:
    """Keys and values of all layers with one window. Layouts: (layers, slots or rows, tokens, kv_heads, head_dim)."""

    window: int | None
    prompt_keys: Tensor
    prompt_values: Tensor
    own_keys: Tensor
    own_values: Tensor
    # of the current step:
    mask: Tensor | None = None  # (R, 1, 1, prompt + own tokens) added to scores: 0 or -inf
    prompt_width: int = 0
    own_width: int = 0
    write: Tensor | None = None  # (R,) where a row's own token goes, as row x ring size + place


class KVCache:
    """See the top of the file.

    Attributes:
        slots: the length of the prompt in each slot in use.
        slot_of: the slot of each row in use.
        used: own tokens of each row in use.
    """

    def __init__(self, shape: Shape, num_slots: int, num_rows: int, prompt_tokens: int, own_tokens: int) -> None:
        self.slots: list[int] = []
        self.slot_of: list[int] = []
        self.used: list[int] = []
        self._shape = shape
        self._own_tokens = own_tokens
        self._stores: dict[int | None, _Store] = {}
        self._where: list[tuple[_Store, int]] = []  # of each layer
        layers = {window: shape.windows.count(window) for window in shape.windows}
        place = dict.fromkeys(layers, 0)
        size = (shape.kv_heads, shape.head_dim)
        for window, count in layers.items():
            prompt = (count, num_slots, _kept(prompt_tokens, window), *size)
            own = (count, num_rows, _kept(own_tokens, window), *size)
            # Prompts only touch the memory of slots in use. Own tokens not yet written are multiplied by 0: no NaN.
            self._stores[window] = _Store(
                window,
                torch.empty(prompt, dtype=shape.dtype, device=shape.device),
                torch.empty(prompt, dtype=shape.dtype, device=shape.device),
                torch.zeros(own, dtype=shape.dtype, device=shape.device),
                torch.zeros(own, dtype=shape.dtype, device=shape.device),
            )
        for window in shape.windows:
            self._where.append((self._stores[window], place[window]))
            place[window] += 1
        self._grid: tuple[int, Tensor | None, Tensor | None] | None = None

    def add_prompt(self, keys: Sequence[Tensor], values: Sequence[Tensor]) -> int:
        """Puts a prompt, (tokens, kv_heads, head_dim) a layer, into the next slot, which is returned."""
        slot = len(self.slots)
        for (store, i), key, value in zip(self._where, keys, values, strict=True):
            for kept, new in ((store.prompt_keys[i, slot], key), (store.prompt_values[i, slot], value)):
                new = new[max(len(new) - len(kept), 0) :]
                kept[: len(new)] = new
                kept[len(new) :].zero_()  # multiplied by 0, which must not be NaN
        self.slots.append(len(keys[0]))
        return slot

    def drop_prompt(self, slot: int) -> None:
        """Gives a slot back that no row uses; the last slot moves there."""
        last = len(self.slots) - 1
        if slot != last:
            for store in self._stores.values():
                store.prompt_keys[:, slot] = store.prompt_keys[:, last]
                store.prompt_values[:, slot] = store.prompt_values[:, last]
            self.slots[slot] = self.slots[last]
            self.slot_of = [slot if s == last else s for s in self.slot_of]
        self.slots.pop()
        self._grid = None

    def add_row(self, slot: int) -> None:
        """The next row answers the prompt of this slot."""
        self.slot_of.append(slot)
        self.used.append(0)
        self._grid = None

    def drop_row(self, row: int) -> None:
        """Gives a row back; the last row moves there."""
        last = len(self.used) - 1
        if row != last:
            for store in self._stores.values():
                filled = slice(min(self.used[last], store.own_keys.shape[2]))
                store.own_keys[:, row, filled] = store.own_keys[:, last, filled]
                store.own_values[:, row, filled] = store.own_values[:, last, filled]
            self.slot_of[row], self.used[row] = self.slot_of[last], self.used[last]
        self.slot_of.pop()
        self.used.pop()
        self._grid = None

    def begin_step(self) -> Tensor:
        """Makes room for one more token in every row. Returns the tokens' positions, (R,) int64."""
        assert self.used
        assert max(self.used) < self._own_tokens, "the cache was made for fewer tokens a row"
        device = self._shape.device
        rows = len(self.used)
        if self._grid is None:
            self._grid = _grid(self.slot_of, len(self.slots), device)
        used = torch.tensor(self.used, device=device)
        lengths = torch.tensor([self.slots[s] for s in self.slot_of], device=device)
        positions = lengths + used
        for store in self._stores.values():
            capacity, ring = store.prompt_keys.shape[2], store.own_keys.shape[2]
            store.prompt_width = min(max(self.slots), capacity)
            store.own_width = min(max(self.used) + 1, ring)
            kept = lengths.clamp(max=capacity)[:, None]
            place = torch.arange(store.prompt_width, device=device)[None]
            seen = place < kept
            if store.window is not None and max(self.slots) + max(self.used) >= store.window:
                seen &= (lengths[:, None] - kept + place) > (positions[:, None] - store.window)
            age = torch.remainder(used[:, None] - torch.arange(store.own_width, device=device)[None], ring)
            seen = torch.cat([seen, age <= used[:, None]], dim=1)  # a ring forgets what its window can't see
            mask = torch.zeros(seen.shape, dtype=self._shape.dtype, device=device)
            store.mask = mask.masked_fill_(~seen, float("-inf"))[:, None, None]
            store.write = torch.arange(rows, device=device) * ring + used % ring
        self.used = [count + 1 for count in self.used]
        return positions

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Writes the step's keys and values, (R, kv_heads, head_dim), and attends.

        query: (R, heads, head_dim), scaled. Returns (R, heads, head_dim).
        """
        store, i = self._where[layer]
        rows, _, head_dim = query.shape
        kv_heads = key.shape[1]
        assert store.write is not None
        assert store.mask is not None
        for own, new in ((store.own_keys[i], key), (store.own_values[i], value)):
            own.view(-1, kv_heads * head_dim).index_copy_(0, store.write, new.reshape(rows, -1))
        own_keys = store.own_keys[i, :rows, : store.own_width].permute(0, 2, 3, 1)
        own_values = store.own_values[i, :rows, : store.own_width].transpose(1, 2)
        query = query.view(rows, kv_heads, -1, head_dim)
        scores = torch.matmul(query, own_keys)
        if not store.prompt_width:
            return torch.matmul((scores + store.mask).softmax(dim=-1), own_values).view(rows, -1, head_dim)
        prompt_keys = store.prompt_keys[i, : len(self.slots), : store.prompt_width].permute(0, 2, 3, 1)
        prompt_values = store.prompt_values[i, : len(self.slots), : store.prompt_width].transpose(1, 2)
        scores = torch.cat([self._by_slot(query, prompt_keys), scores], dim=-1).add_(store.mask)
        weights = scores.softmax(dim=-1)
        of_prompt, of_own = weights.split([store.prompt_width, store.own_width], dim=-1)
        out = torch.matmul(of_own, own_values)
        return out.add_(self._by_slot(of_prompt, prompt_values)).view(rows, -1, head_dim)

    def _by_slot(self, x: Tensor, matrix: Tensor) -> Tensor:
        """x (R, kv_heads, heads per kv_head, a) times each row's slot's matrix (slots, kv_heads, a, b)."""
        assert self._grid is not None
        lanes, row_at, place_of = self._grid
        _, kv_heads, repeats, a = x.shape
        b = matrix.shape[-1]
        if row_at is not None:
            x = x.index_select(0, row_at)
        x = x.reshape(-1, lanes, kv_heads, repeats, a).transpose(1, 2).reshape(-1, kv_heads, lanes * repeats, a)
        y = torch.matmul(x, matrix).view(-1, kv_heads, lanes, repeats, b).transpose(1, 2)
        y = y.reshape(-1, kv_heads, repeats, b)
        return y if place_of is None else y.index_select(0, place_of)


def _grid(slot_of: list[int], num_slots: int, device: torch.device) -> tuple[int, Tensor | None, Tensor | None]:
    """Rows arranged as slots x lanes: lanes, the row at each place (0 where there is none), the place of each row.

    Where the rows stand in that order already, there is nothing to rearrange and both indices are None.
    """
    rows: list[list[int]] = [[] for _ in range(num_slots)]
    for row, slot in enumerate(slot_of):
        rows[slot].append(row)
    lanes = max(len(members) for members in rows)
    row_at = [row for members in rows for row in members + [0] * (lanes - len(members))]
    if row_at == list(range(len(slot_of))):
        return lanes, None, None
    place_of = [0] * len(slot_of)
    for slot, members in enumerate(rows):
        for lane, row in enumerate(members):
            place_of[row] = slot * lanes + lane
    return lanes, torch.tensor(row_at, device=device), torch.tensor(place_of, device=device)
