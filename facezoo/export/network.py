"""A model as a graph: tensors in, named tensors out, any batch size."""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from facezoo.errors import FacezooError
from facezoo.models.base import ZooModel

_ENTRY = re.compile(r"^(\w[\w, ]*): (.*)$")
_SHAPE = re.compile(r"^\(B[^)]*\)")


class NamedOutputs(nn.Module):
    """The network with a plain dict as output, which a file can name without this package."""

    def __init__(self, model: ZooModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Map inputs, the batch first in each, to tensors by name."""
        return _as_dict(self.model(*inputs))


@torch.no_grad()
def compute(model: ZooModel, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Return the model's own outputs by name.

    Raises:
        FacezooError: it returns no NamedTuple of tensors.
    """
    return _as_dict(model(*inputs))


def trace(model: ZooModel) -> ExportedProgram:
    """Record the network's computation in eval mode, for any batch size.

    Raises:
        FacezooError: the network does something that a graph cannot express.
    """
    network, inputs = NamedOutputs(model).eval(), model.example_inputs(2)
    compute(network.model, inputs)  # what is wrong with the network itself is better said without a tracer
    batch = Dim("batch")
    try:
        program = torch.export.export(
            network, inputs, dynamic_shapes={"inputs": tuple({0: batch} for _ in inputs)}, strict=False
        )
    except Exception as error:  # torch raises a dozen kinds
        reason = str(error).strip().splitlines()[0]
        raise FacezooError(
            f"torch {torch.__version__} cannot export this network ({type(error).__name__}: {reason}); "
            "try a newer torch, or report the model's config"
        ) from error
    for node in program.graph.nodes:  # where the code lay on this machine is nobody's business
        node.meta.pop("stack_trace", None)
    return program


def describe_outputs(model: ZooModel, units: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return name -> shape, unit and meaning of each output.

    Args:
        model: the network; its output class documents the meanings.
        units: by name, as far as the method states them.

    Returns:
        Shapes as lists whose first entry is ``"batch"``.
    """
    with torch.no_grad():
        output: Any = model(*model.example_inputs(2))
    meanings = _documented(type(output))
    return {
        name: {
            "shape": ["batch", *value.shape[1:]],
            "dtype": str(value.dtype).removeprefix("torch."),
            "unit": units.get(name, ""),
            "meaning": meanings.get(name, ""),
        }
        for name, value in _as_dict(output).items()
    }


def _as_dict(output: Any) -> dict[str, Tensor]:
    if not hasattr(output, "_asdict"):
        raise FacezooError(
            f"the network returns {type(output).__name__}; an exported one names its outputs, so forward must return "
            "a NamedTuple of tensors"
        )
    named: dict[str, Tensor] = output._asdict()
    return named


def _documented(kind: type) -> dict[str, str]:
    """Read the ``Attributes`` section of a Google-style docstring, without the shapes at its entries' beginnings."""
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(f"\n{section}").splitlines():
        entry = _ENTRY.match(line)
        if entry:
            names = [name.strip() for name in entry[1].split(",")]
        for name in names if line.strip() else ():
            found[name] = f"{found.get(name, '')} {entry[2] if entry else line.strip()}".strip()
    return {name: _SHAPE.sub("", text).strip() for name, text in found.items()}
