"""Bounds on what reading a checkpoint may cost."""

from __future__ import annotations

from dataclasses import dataclass

from rnp_core.errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True)
class ReadLimits:
    """Upper bounds; a file that passes one of them is refused, never read in part.

    Attributes:
        file_bytes: size of a checkpoint file.
        tensor_bytes: sum of the sizes of all tensors of a file, each with its strides expanded;
            bounds the memory of the result.
        expansion: that sum, and the sum of the unpacked members of an archive, over the size of
            the file, once it is above 64 MiB; a tensor with stride 0 is larger than its storage.
        pickle_bytes: size of one pickle stream (without tensor storages).
        pickle_steps: opcodes in all pickle streams of a file; also bounds the objects they build.
        global_names: different names that the pickles of a file would import.
        depth: nesting of containers and of modules.
        string_bytes: length of one string or byte string in a pickle.
        name_length: characters of a tensor name.
        tensors: number of tensors.
        archive_members: entries of a zip archive.
        compression_ratio: unpacked size over packed size of an archive member above 1 MiB.
        json_bytes: size of a configuration file or a safetensors header.
        folder_entries: entries of a folder.
    """

    file_bytes: int = 8 << 30
    tensor_bytes: int = 8 << 30
    expansion: float = 16.0
    pickle_bytes: int = 512 * MIB
    pickle_steps: int = 2_000_000
    global_names: int = 10_000
    depth: int = 100
    string_bytes: int = 256 * MIB
    name_length: int = 500
    tensors: int = 50_000
    archive_members: int = 100_000
    compression_ratio: float = 200.0
    json_bytes: int = 8 * MIB
    folder_entries: int = 100_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ConfigError(f"expected a positive read limit {name}, got {value}")
