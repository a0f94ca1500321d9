"""SpiralNet++ parts: released convolution, sampling and decoder to 1e-5 (parity pack ``spiral``); our tables."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_fakes import POINTS, write_toy_head
from safetensors.torch import load_file
from torch import Tensor

from facezoo.errors import AssetError, InputError
from facezoo.heads import load_head
from facezoo.losses import unique_edges
from facezoo.models.dense.config import DenseConfig
from facezoo.models.dense.spiral import MeshUpsample, SpiralConv, SpiralDecoder, SpiralLevels
from facezoo.models.dense.surface import dense_edges, dense_faces, spiral_levels

PACK = (
    Path(os.environ.get("FACEZOO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    / "parity"
    / "spiral"
)
needs_pack = pytest.mark.skipif(not PACK.is_dir(), reason=f"parity pack {PACK} is not there")


@pytest.fixture(scope="module")
def pack() -> dict[str, Tensor]:
    return load_file(PACK / "pack.safetensors")


def seeded(name: str, like: Tensor) -> Tensor:
    """Return the pack's deterministic weight or bias."""
    values = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF).standard_normal(tuple(like.shape))
    values = values.astype(np.float32)
    if name.endswith("bias"):
        return torch.from_numpy(np.float32(0.1) * values)
    return torch.from_numpy(values / np.float32(np.sqrt(np.prod(like.shape[1:]))))


def fill(layer: torch.nn.Linear, name: str) -> None:
    with torch.no_grad():
        layer.weight.copy_(seeded(f"{name}.weight", layer.weight))
        layer.bias.copy_(seeded(f"{name}.bias", layer.bias))


def dense_sampling(pack: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Return the pack's sparse up-sampling as (V, 3) indices and weights."""
    rows, columns, values = (pack[f"deci.{name}.{k}"] for k in ("row", "col", "val"))
    fine = int(pack[f"deci.{name}.shape"][0])
    index, weight, used = torch.zeros(fine, 3, dtype=torch.long), torch.zeros(fine, 3), [0] * fine
    for row, column, value in zip(rows.tolist(), columns.tolist(), values.tolist(), strict=True):
        index[row, used[row]], weight[row, used[row]] = column, value
        used[row] += 1
    return index, weight


@needs_pack
@pytest.mark.parametrize("length", [9, 12])
def test_convolution_matches_released_code(pack: dict[str, Tensor], length: int) -> None:
    conv = SpiralConv(5, 7, pack[f"spiral.sphere.L{length}.d1"])
    fill(conv.layer, f"SpiralConv{length}.layer")
    x = pack[f"conv{length}.x"]
    torch.testing.assert_close(conv(x), pack[f"conv{length}.y"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(conv(x[0]), pack[f"conv{length}.y2d"], rtol=1e-5, atol=1e-5)


@needs_pack
def test_upsampling_matches_released_code(pack: dict[str, Tensor]) -> None:
    up = MeshUpsample(*dense_sampling(pack, "U0"))
    torch.testing.assert_close(up(pack["ae.unpool0.x"]), pack["ae.unpool0"], rtol=1e-5, atol=1e-5)


@needs_pack
def test_decoder_matches_released_code(pack: dict[str, Tensor]) -> None:
    tables = [dense_sampling(pack, name) for name in ("U0", "U1")]
    levels = SpiralLevels(
        [pack["ae.spiral0"], pack["ae.spiral1"]], [i for i, _ in tables], [w for _, w in tables]
    )
    decoder = SpiralDecoder(10, [16, 16, 8], 3, levels, coarsest=21)
    names = (
        "AE.de_layers.0",
        "AE.de_layers.1.conv.layer",
        "AE.de_layers.2.conv.layer",
        "AE.de_layers.3.layer",
    )
    layers = (decoder.expand, decoder.convs[0].layer, decoder.convs[1].layer, decoder.last.layer)
    for name, layer in zip(names, layers, strict=True):
        fill(layer, name)
    torch.testing.assert_close(decoder(pack["ae.z"]), pack["ae.y"], rtol=1e-5, atol=1e-5)


def test_tables_of_a_head(tmp_path: Path) -> None:
    config = DenseConfig(
        head=write_toy_head(tmp_path),
        points=POINTS,
        spiral_factors=[3, 2],
        spiral_channels=[8, 8, 4],
        spiral_length=7,
    )
    levels = spiral_levels(config)
    assert [tuple(s.shape) for s in levels.spirals] == [(POINTS, 7), (45, 7)]
    for spiral, index, weight, coarse in zip(*levels, (45, 23), strict=True):
        assert torch.equal(spiral[:, 0], torch.arange(len(spiral)))
        assert int(index.min()) >= 0 and int(index.max()) < coarse
        torch.testing.assert_close(weight.sum(1), torch.ones(len(weight)), atol=1e-5, rtol=0)


def test_thinned_subsets_of_the_open_head_have_triangles() -> None:
    head = load_head("open-v1")
    for points in (1609, 101):
        faces = dense_faces(head, points)
        assert torch.equal(faces.unique(), torch.arange(points))
        edges = unique_edges(faces)
        assert points - len(edges) + len(faces) <= 1  # Euler: a disc, or one with holes
    assert torch.equal(dense_edges(DenseConfig(points=101)), edges)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="spiral table"):
        SpiralConv(2, 2, torch.zeros(4, 3, dtype=torch.long))(torch.zeros(1, 5, 2))
    with pytest.raises(InputError, match="one more"):
        SpiralDecoder(
            4, [8], 3, SpiralLevels([torch.zeros(4, 3)], [torch.zeros(4, 3)], [torch.zeros(4, 3)]), 2
        )
    assert AssetError is not InputError
