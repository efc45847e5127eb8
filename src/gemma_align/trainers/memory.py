"""Peak memory, in units of 10^9 bytes."""

import sys
from pathlib import Path


def peak_rss_gb() -> float:
    """The most memory that this process has had resident. Linux and macOS."""
    try:
        # Linux carries ru_maxrss over from the parent through fork and exec; VmHWM is this program's own.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(kibibytes) * 1024 / 1e9
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def peak_gpu_gb() -> float:
    """The most memory that tensors have taken on the current CUDA device."""
    import torch

    return torch.cuda.max_memory_allocated() / 1e9
