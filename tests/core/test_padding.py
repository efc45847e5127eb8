import pytest

from gemma_align.core.padding import padded


@pytest.mark.parametrize("rows", [[[1, 2, 3], [4], [], [5, 6]], [[], []], [], [(7, 8)]])
def test_against_rows_filled_one_by_one(rows):
    width = max(map(len, rows), default=0)
    ids, mask = padded(rows)
    assert ids.tolist() == [[*row, *([0] * (width - len(row)))] for row in rows]
    assert mask.tolist() == [[i < len(row) for i in range(width)] for row in rows]
