"""From a checkpoint to one file in another format, compared with the network before it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from facezoo.errors import AssetError, FacezooError, InputError, unknown_name
from facezoo.export import onnx_file, torch_file
from facezoo.export.metadata import describe, title
from facezoo.export.network import compute, trace
from facezoo.hub import resolve
from facezoo.mesh.io.atomic import write_bytes
from facezoo.models.base import ZooModel
from facezoo.models.load import load

Format = Literal["onnx", "torch"]
FORMATS: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
# Largest difference from the network, relative to an output's largest value where that is above 1.
TOLERANCE = 1e-4
_BATCHES = (1, 3)


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: where it is.
        format: ``"onnx"`` or ``"torch"``.
        size: bytes.
        errors: batch size -> largest absolute difference from the network over all outputs; empty if not compared.
        metadata: what the file says about itself, see :func:`facezoo.export.metadata.describe`.
    """

    path: Path
    format: Format
    size: int
    errors: dict[int, float]
    metadata: dict[str, Any]


def export_model(
    name_or_path: str | Path,
    out: str | Path = ".",
    *,
    format: str | None = None,
    opset: int | None = None,
    check: bool = True,
) -> Exported:
    """Write a model's network, from its inputs to named outputs, for any batch size.

    Detection, cropping and the fit of a head are not part of it; the metadata say how the inputs are made.

    Args:
        name_or_path: as for :func:`facezoo.load`.
        out: folder to write to, or a file that ends in ``.onnx`` or ``.pt2``.
        format: ``"onnx"`` or ``"torch"`` (a .pt2 of torch.export); by default what the file's ending says, or ONNX.
        opset: version of ONNX' operator set.
        check: run the result on batches of 1 and 3 and compare it with the network before anything is written.

    Raises:
        InputError: unknown format, or an ending or opset that does not go with it.
        AssetError: a package is missing (the message names the extra), or the model is.
        FacezooError: the network cannot be expressed, or the result differs from it.
    """
    target = Path(out).expanduser()
    kind, is_file = _format(target, format)
    if kind != "onnx" and opset is not None:
        raise InputError(f"opset={opset} says nothing about format {kind!r}; leave it out")
    if kind == "onnx":
        onnx_file.need((*onnx_file.WRITING, *(onnx_file.RUNNING if check else ())))
    checkpoint = resolve(name_or_path)
    model = load(checkpoint.id, device="cpu")
    metadata = describe(model, checkpoint)
    program = trace(model)
    if kind == "onnx":
        data = onnx_file.to_bytes(program, model.example_inputs(2), metadata, opset)
    else:
        data = torch_file.to_bytes(program, metadata)
    errors = compare(model, data, onnx_file.run if kind == "onnx" else torch_file.run) if check else {}
    if not is_file:
        name = title(checkpoint).rsplit("/", 1)[-1].split("@")[0]
        target /= f"{name}{FORMATS[kind]}"
    return Exported(write_bytes(target, data), kind, len(data), errors, metadata)


def compare(
    model: ZooModel, data: bytes, run: Callable[[bytes, tuple[Tensor, ...]], dict[str, Tensor]]
) -> dict[int, float]:
    """Return the largest absolute difference between a file and its network by batch size.

    Raises:
        FacezooError: it is larger than ``TOLERANCE`` allows, or an output is missing.
    """
    found = {}
    for batch in _BATCHES:
        inputs = model.example_inputs(batch, seed=batch)
        got, worst = run(data, inputs), 0.0
        for name, value in compute(model, inputs).items():
            if name not in got or (got[name].shape, got[name].dtype) != (value.shape, value.dtype):
                raise FacezooError(
                    f"the exported network has no {value.dtype} output {name!r} of shape {tuple(value.shape)}"
                )
            wanted = value.double()  # truth values too
            if not wanted.numel():
                continue
            error = float((got[name].double() - wanted).abs().max())
            if not error <= TOLERANCE * max(1.0, float(wanted.abs().max())):
                raise FacezooError(
                    f"the exported network's {name!r} differs from the model's by {error:g} at batch {batch}; nothing "
                    "was written. Try another --opset, or --format torch"
                )
            worst = max(worst, error)
        found[batch] = worst
    return found


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return what an exported file says about itself.

    Raises:
        AssetError: it is missing, or not a file that facezoo exported.
    """
    target = Path(path).expanduser()
    if not target.is_file():
        raise AssetError(f"there is no file {target}; `facezoo export MODEL -o {target}` writes one")
    kind, is_file = _format(target, None)
    if not is_file:
        raise InputError(f"{target.name} ends neither in .onnx nor in .pt2")
    if kind == "onnx":
        return onnx_file.read(str(target))
    return torch_file.load(target.read_bytes(), str(target))[1]


def _format(path: Path, given: str | None) -> tuple[Format, bool]:
    """Return the format, and whether ``path`` is a file's and not a folder's."""
    if given is not None and given not in get_args(Format):
        raise unknown_name("format", given, FORMATS)
    wanted = next((kind for kind in FORMATS if kind == given), None)
    named = next((kind for kind, ending in FORMATS.items() if path.suffix.lower() == ending), None)
    if named is None or path.is_dir():
        return wanted or "onnx", False
    if wanted not in (None, named):
        raise InputError(
            f"{path.name} ends in {FORMATS[named]}, which is not format {wanted!r}; name a folder, or leave one out"
        )
    return named, True
