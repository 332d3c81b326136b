"""Which container a file is, from its content; the name of a file is never trusted."""

from __future__ import annotations

import struct

from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.source import Source
from rnp_core.checkpoints.zip_directory import open_directory

TORCH_ZIP = "torch-zip"
TORCH_LEGACY = "torch-legacy"
SAFETENSORS = "safetensors"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.save before 1.6 starts with a pickle of this number

_FLOAT = "save its state dict with torch.save or safetensors instead"
REFUSED = {
    "torchscript": f"TorchScript archives hold code and run it when loaded; {_FLOAT}",
    "torch-export": f"torch.export archives (.pt2) can run code when loaded; {_FLOAT}",
    "onnx": "ONNX files are not supported yet; give the PyTorch checkpoint it was exported from",
    "keras": "Keras files are not PyTorch checkpoints; convert the weights first",
    "hdf5": "HDF5 (Keras) files are not PyTorch checkpoints; convert the weights first",
    "gguf": "GGUF files hold quantised language models, not image classifiers",
    "pickle": f"this is a plain pickle, not a file of torch.save; {_FLOAT}",
    "tar": "tar archives (also those of PyTorch before 0.1.10) are not supported; "
    "unpack it, or save the state dict again with a current PyTorch",
    "compressed": "the file is compressed (gzip, bzip2, xz, 7z or zstd); unpack it first",
    "zip": "a zip archive without data.pkl is not a file of torch.save",
    "cut-off": "the file is cut off or damaged: a safetensors header that is longer than the file",
    "unknown": "the content is none of safetensors, torch zip or legacy torch",
}

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd")
_LONGEST_HEADER = 100_000_000  # bytes, by the format's own rule
_HDF5 = b"\x89HDF\r\n\x1a\n"


def identify(source: Source, limits: ReadLimits) -> str:
    """``"torch-zip"``, ``"torch-legacy"``, ``"safetensors"`` or a key of :data:`REFUSED`."""
    head = source.head
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _identify_zip(source, limits)
    if head.startswith(_HDF5):
        return "hdf5"
    if head.startswith(b"GGUF"):
        return "gguf"
    if head.startswith(_COMPRESSED):
        return "compressed"
    if head[257:262] == b"ustar":
        return "tar"
    if len(head) > 8 and head[8:9] == b"{":
        (length,) = struct.unpack("<Q", head[:8])
        if length <= source.size - 8:
            return SAFETENSORS
        if length <= _LONGEST_HEADER:
            return "cut-off"
    if _is_pickle(head):
        return TORCH_LEGACY if _has_legacy_magic(head) else "pickle"
    if _is_onnx(head):
        return "onnx"
    return "unknown"


def _identify_zip(source: Source, limits: ReadLimits) -> str:
    try:
        names = open_directory(source.file, limits).namelist()
    except Exception:  # zipfile raises many kinds on damaged input; reading it will say which
        return TORCH_ZIP
    inner = {name.split("/", 1)[-1] for name in names}
    if any("serialized_exported_program" in name for name in names) or "archive_format" in inner:
        return "torch-export"
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "model.weights.h5" in names or {"metadata.json", "config.json"} <= set(names):
        return "keras"
    return TORCH_ZIP if "data.pkl" in inner else "zip"


def _is_pickle(head: bytes) -> bool:
    return (head[:1] == b"\x80" and head[1:2] <= b"\x08") or head[:1] in (b"c", b"(", b"]", b"}")


def _has_legacy_magic(head: bytes) -> bool:
    number = LEGACY_MAGIC.to_bytes(10, "little")
    return number in head[:32] or str(LEGACY_MAGIC).encode() in head[:64]


def _is_onnx(head: bytes) -> bool:
    """A ModelProto starts with ir_version (field 1), mostly followed by the producer (field 2)."""
    return head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x1a", b":")
