"""A network as an ONNX file; the only place that knows onnx, onnxscript and onnxruntime."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from facezoo.errors import AssetError, FacezooError, InputError
from facezoo.export.metadata import KEY

WRITING, RUNNING = ("onnx", "onnxscript"), ("onnxruntime",)
_SHOWN = ("model_id", "weights_sha256", "facezoo")


def need(packages: Iterable[str]) -> None:
    """Check that optional packages can be imported.

    Raises:
        AssetError: one cannot; the message has the command that installs it.
    """
    missing = []
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise AssetError(
            f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'facezoo[export]' "
            "(or --format torch, which needs nothing)"
        )


def to_bytes(
    program: ExportedProgram, inputs: tuple[Tensor, ...], metadata: dict[str, Any], opset: int | None
) -> bytes:
    """Return the file's bytes.

    Args:
        program: the traced network.
        inputs: an example.
        metadata: of :func:`facezoo.export.metadata.describe`, with the names of inputs and outputs; it goes into
            ``metadata_props``, whole as JSON under ``facezoo`` and a few entries for viewers.
        opset: version of the operator set; None for the exporter's own.

    Raises:
        AssetError: a package is missing.
        InputError: the exporter cannot write this opset.
        FacezooError: it cannot express the network.
    """
    need(WRITING)
    import onnx

    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = torch.onnx.export(
                program, inputs, dynamo=True, input_names=list(metadata["inputs"]),
                output_names=list(metadata["outputs"]), opset_version=opset, verbose=False,
            )  # fmt: skip
    except Exception as error:  # torch raises many kinds
        reason = str(error).strip().splitlines()[0]
        raise FacezooError(
            f"torch {torch.__version__} cannot write this network as ONNX ({type(error).__name__}: {reason}); "
            "try --opset 18, or --format torch"
        ) from error
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    assert result is not None
    proto = result.model_proto
    version = next(entry.version for entry in proto.opset_import if not entry.domain)
    if opset is not None and version != opset:
        raise InputError(
            f"opset {opset} cannot hold this network; torch {torch.__version__} writes {version}"
        )
    _strip(proto)
    shown = {f"facezoo.{key}": str(metadata[key]) for key in _SHOWN if key in metadata}
    licences = json.dumps(metadata["licences"])
    onnx.helper.set_model_props(proto, {KEY: json.dumps(metadata), **shown, "facezoo.licences": licences})
    onnx.checker.check_model(proto)
    data: bytes = proto.SerializeToString()
    return data


def _strip(proto: Any) -> None:
    """Drop what the exporter notes for its own debugging: stack traces with paths of this machine, signatures."""
    graphs = [proto.graph, *proto.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        for entry in (*graph.node, *graph.value_info):
            del entry.metadata_props[:]
    for entry in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del entry.metadata_props[:]


def read(path: str) -> dict[str, Any]:
    """Return the metadata of a file.

    Raises:
        AssetError: onnx is missing, or the file is not one that facezoo wrote.
    """
    need(("onnx",))
    import onnx

    try:
        properties = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
        metadata: dict[str, Any] = json.loads(properties[KEY])
    except Exception as error:  # protobuf raises its own family
        raise AssetError(f"{path} is no file that `facezoo export` wrote ({error!r})") from error
    return metadata


def run(data: bytes, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Compute the outputs from the file's bytes with onnxruntime on the CPU.

    Raises:
        AssetError: onnxruntime is missing.
    """
    need(RUNNING)
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feed = {given.name: value.numpy() for given, value in zip(session.get_inputs(), inputs, strict=True)}
    values = session.run(names, feed)
    return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}
