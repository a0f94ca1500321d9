"""Every method of the zoo can be exported, one that reads no pictures too: what a method offers for it is enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from facezoo.config import METHODS
from facezoo.errors import FacezooError
from facezoo.export import onnx_file, torch_file
from facezoo.export.network import describe_outputs, trace
from facezoo.export.write import compare
from facezoo.models.base import ZooModel
from facezoo.models.signature import Input, Signature

# Sizes that a test can afford; a method without an entry is built as it is by default.
SMALL: dict[str, dict[str, Any]] = {
    "dense": {"widths": [8, 8], "depths": [1, 1], "hidden": 16, "rank": 8, "scale_rank": 4, "crop_size": 64},
    "synergynet": {"backbone": "nano", "widths": [8, 8], "depths": [1, 1], "crop_size": 64},
    "deca": {
        "n_expression": 49,
        "backbone": "nano",
        "widths": [8, 8],
        "depths": [1, 1],
        "crop_size": 64,
        "hidden": 16,
        "detail": 8,
        "detail_channels": [8, 8],
    },
    "stabilizer": {"points": 32, "linear": 8, "widths": [16], "hidden": [16]},
}

UNTRACEABLE: dict[str, pytest.MarkDecorator] = {}


class Apart(NamedTuple):
    """How two meshes differ.

    Attributes:
        shift, spread: (B, 3) metres, mean and
            root mean square.
        same: (B,) whether nothing moved.
    """

    shift: Tensor
    spread: Tensor
    same: Tensor


class MeshModel(ZooModel):
    """Two meshes in, no crop."""

    method = "meshes"
    units: ClassVar[dict[str, str]] = {"shift": "m", "spread": "m"}

    def __init__(self) -> None:
        super().__init__(None)
        self.weigh = nn.Linear(3, 3)

    def signature(self) -> Signature:
        mesh = Input((7, 3), "vertices in metres")
        return Signature({"first": mesh, "second": mesh}, self.units, {"vertices": "of head toy"})

    def forward(self, first: Tensor, second: Tensor) -> Apart:  # type: ignore[override]
        apart = self.weigh(second) - first
        return Apart(apart.mean(1), apart.square().mean(1).sqrt(), apart.abs().sum((1, 2)) == 0)


def metadata(model: ZooModel) -> dict[str, Any]:
    """Return as much as an ONNX file needs."""
    signature = model.signature()
    names = {
        "inputs": dict.fromkeys(signature.inputs),
        "outputs": describe_outputs(model, dict(signature.units)),
    }
    return {**names, "licences": {}}


def as_torch(model: ZooModel) -> bytes:
    return torch_file.to_bytes(trace(model), {})


def as_onnx(model: ZooModel) -> bytes:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is missing: pip install 'facezoo[export]'")
    return onnx_file.to_bytes(trace(model), model.example_inputs(2), metadata(model), None)


Formats = pytest.mark.parametrize(
    ("write", "run"), [(as_torch, torch_file.run), (as_onnx, onnx_file.run)], ids=["torch", "onnx"]
)


@Formats
def test_a_method_that_reads_no_pictures(write: Callable[[ZooModel], bytes], run: Callable[..., Any]) -> None:
    model = MeshModel().eval()
    assert max(compare(model, write(model), run).values()) < 1e-6
    with torch.no_grad():  # both inputs count, each in its own place
        first, second = model.example_inputs(5, seed=9)
        got, expected = run(write(model), (first, second)), model(first, second)
    torch.testing.assert_close(got["shift"], expected.shift, rtol=0, atol=1e-6)
    assert not torch.allclose(expected.shift, model(second, first).shift)


def test_outputs_are_described_by_their_class() -> None:
    found = describe_outputs(MeshModel().eval(), {"shift": "m"})
    assert found == {
        "shift": {"shape": ["batch", 3], "dtype": "float32", "unit": "m",
                  "meaning": "metres, mean and root mean square."},
        "spread": {"shape": ["batch", 3], "dtype": "float32", "unit": "",
                   "meaning": "metres, mean and root mean square."},
        "same": {"shape": ["batch"], "dtype": "bool", "unit": "", "meaning": "whether nothing moved."},
    }  # fmt: skip


def test_outputs_without_names_are_refused() -> None:
    class Nameless(MeshModel):
        def forward(self, first: Tensor, second: Tensor) -> Any:  # type: ignore[override]
            return first + second

    with pytest.raises(FacezooError, match=r"returns Tensor; .* NamedTuple"):
        trace(Nameless().eval())


def test_examples_are_the_same_for_a_seed() -> None:
    model = MeshModel()
    a, b, c = (
        model.example_inputs(2, seed=1),
        model.example_inputs(2, seed=1),
        model.example_inputs(2, seed=2),
    )
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True)) and not torch.equal(a[0], c[0])


@pytest.mark.slow  # every method is built, traced and run
@Formats
@pytest.mark.parametrize("name", [pytest.param(n, marks=UNTRACEABLE.get(n, ())) for n in METHODS])
def test_every_method(name: str, write: Callable[[ZooModel], bytes], run: Callable[..., Any]) -> None:
    method = METHODS[name]
    model = method.model_class()(method.config_class()(**SMALL.get(name, {}))).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # some layers begin at zero, and zeros prove nothing
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=generator), alpha=0.05)
    assert (
        max(compare(model, write(model), run).values()) < 1e-2
    )  # and, relative to the values, what compare allows
    about = describe_outputs(model, dict(model.signature().units))
    assert all(entry["unit"] for entry in about.values()), f"units of {name}: ZooModel.units"
