"""Weights whose pages are let go: what a file can give back goes, and nothing else."""

import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from gemma_align.models.paging import page_out

linux = pytest.mark.skipif(sys.platform != "linux", reason="pages are let go on Linux alone")
SIZE = 4 * 2**20  # numbers: 16 MB, far more than anything else that comes and goes


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.fixture
def mapped(tmp_path):
    """The same numbers as a file's pages and as memory of the process's own."""
    own = torch.arange(SIZE, dtype=torch.float32)
    save_file({"w": own}, tmp_path / "w.safetensors")
    weight = load_file(tmp_path / "w.safetensors")["w"]
    assert torch.equal(weight, own)  # reads every page
    return weight, own


@linux
def test_pages_of_a_file_go_and_come_back(mapped):
    weight, own = mapped
    before = resident()
    page_out([weight])
    assert before - resident() > 0.9 * weight.nbytes
    assert torch.equal(weight, own)
    assert resident() > before - 0.1 * weight.nbytes


@linux
def test_pages_that_somebody_else_has_mapped_go_too(mapped, tmp_path):
    """As two cells of a study have; the other mapping may be this process's own."""
    weight, own = mapped
    other = load_file(tmp_path / "w.safetensors")["w"]
    assert torch.equal(other, own)
    before = resident()
    page_out([weight])
    assert before - resident() > 0.9 * weight.nbytes
    assert torch.equal(weight, own)


@linux
def test_a_weight_that_was_written_to_stays_as_it_is(mapped):
    weight, own = mapped
    weight[SIZE // 2] = own[SIZE // 2] = -1.0
    page_out([weight])
    assert torch.equal(weight, own)


def test_memory_of_no_file_stays_as_it_is(mapped):
    _, own = mapped
    copy = own.clone()
    page_out([copy, copy[:0], copy[5:7]])
    assert torch.equal(copy, own)
