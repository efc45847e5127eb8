"""Where a model runs and in what precision, by a stated rule."""

import os

import torch

from gemma_align.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = {"fp32": torch.float32, "float32": torch.float32, "bf16": torch.bfloat16, "bfloat16": torch.bfloat16}


def resolve_device(name: str) -> torch.device:
    """The device a name means. `auto`: CUDA if there is one, then Apple's MPS, then the CPU.

    With several processes on a machine, each takes the CUDA device of its LOCAL_RANK, as torchrun numbers them.

    Raises:
        ConfigError: unknown name, or a device this machine doesn't have.
    """
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (index and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(f"device: wanted one of {', '.join(DEVICES)} or cuda:N, given {name!r}")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "cuda":
        number = int(index or os.environ.get("LOCAL_RANK", "0"))
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if number >= found:
            built = "" if torch.version.cuda or torch.version.hip else " (and this PyTorch is built without CUDA)"
            raise ConfigError(
                f"device: wanted cuda:{number}, and torch sees {found} CUDA devices{built}. Use auto or cpu."
            )
        return torch.device("cuda", number)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device: wanted mps, and torch sees no Apple GPU here. Use auto or cpu.")
    return torch.device(kind)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision a name means. `auto`: bf16 on a CUDA device that has it in hardware, fp32 everywhere else.

    Raises:
        ConfigError: unknown name, fp16, or a precision the device doesn't have.
    """
    if name in ("fp16", "float16", "half"):
        raise ConfigError(
            "precision: fp16 is refused: Gemma 3's activations go beyond fp16's largest number (65504) and become inf. "
            "Use auto, fp32 or bf16."
        )
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and has_bf16 else torch.float32
    if name not in PRECISIONS:
        raise ConfigError(f"precision: wanted one of auto, fp32, bf16, given {name!r}")
    if PRECISIONS[name] == torch.bfloat16 and not has_bf16:
        raise ConfigError(f"precision: wanted bf16, which {torch.cuda.get_device_name(device)} doesn't have. Use fp32.")
    return PRECISIONS[name]
