"""The DECA parity packs: where they are, their deterministic weights, and comparisons of strided records."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

SHARED = Path(os.environ.get("FACEZOO_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def load_pack(name: str) -> dict[str, Tensor]:
    """Load a pack or skip the test with the reason."""
    path = SHARED / "parity" / name / "pack.safetensors"
    if not path.exists():
        pytest.skip(f"parity pack {name} is not at {path}")
    return load_file(path)


def official_weights(pack: str, group: str) -> dict[str, Tensor]:
    """Return a group of the checkpoint by the packs' seeding rule, under the released names."""
    values = {}
    for key, shape, dtype, rule in json.loads((SHARED / "parity" / pack / "keys.json").read_text())["groups"][
        group
    ]:
        if dtype == "int64":
            values[key] = torch.zeros(shape, dtype=torch.int64)
            continue
        seed = zlib.crc32(f"{group}.{key}".encode()) & 0xFFFFFFFF
        v = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
        if rule.startswith("weight"):
            v = v / np.float32(np.sqrt(np.prod(shape[1:])))
        elif rule == "bn.weight":
            v = 1 + np.float32(0.1) * v
        elif rule == "bn.running_var":
            v = 1 + np.float32(0.1) * np.abs(v)
        else:
            v = np.float32(0.1) * v
        values[key] = torch.from_numpy(np.asarray(v, np.float32))
    return values


def assert_record(value: Tensor, pack: dict[str, Tensor], name: str, tolerance: float = 1e-5) -> None:
    """Compare a tensor with ``name.sub`` and ``name.stats``, relative to the largest value."""
    stats = pack[f"{name}.stats"]
    assert list(value.shape) == pack[f"{name}.shape"].tolist()
    assert_near(
        value.flatten()[:: int(pack[f"{name}.step"])], pack[f"{name}.sub"], tolerance, float(stats[3])
    )
    wide = value.double()
    found = torch.stack([wide.mean(), wide.std(unbiased=False), wide.abs().max()])
    assert_near(found, stats[1:], 10 * tolerance, float(stats[3]))


def assert_near(value: Tensor, expected: Tensor, tolerance: float = 1e-5, scale: float | None = None) -> None:
    """Compare within ``tolerance`` of the largest absolute value."""
    limit = tolerance * (float(expected.abs().max()) if scale is None else scale)
    assert value.shape == expected.shape
    assert float((value - expected).abs().max()) <= limit
