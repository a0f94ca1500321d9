"""A network as a .pt2 file of torch.export."""

from __future__ import annotations

import io
import json
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from facezoo.errors import AssetError
from facezoo.export.metadata import KEY

_FILE = f"{KEY}.json"


def to_bytes(program: ExportedProgram, metadata: dict[str, Any]) -> bytes:
    """Return the file's bytes, with the metadata as an extra file ``facezoo.json`` in it."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={_FILE: json.dumps(metadata, indent=1)})
    return buffer.getvalue()


def load(data: bytes, name: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Return the network, as a module from inputs to named tensors, and its metadata.

    Raises:
        AssetError: the bytes are no such file, or carry no metadata of facezoo.
    """
    extra = {_FILE: ""}
    try:
        program = torch.export.load(io.BytesIO(data), extra_files=extra)
        return program.module(), json.loads(extra[_FILE])
    except Exception as error:  # torch raises many kinds for a file that is not one of its own
        raise AssetError(
            f"{name} is no file that `facezoo export --format torch` wrote ({str(error).splitlines()[:1]})"
        ) from error


def run(data: bytes, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Compute the outputs from the file's bytes."""
    module, _ = load(data, "the exported program")
    with torch.no_grad():
        outputs: dict[str, Tensor] = module(*inputs)
    return outputs
