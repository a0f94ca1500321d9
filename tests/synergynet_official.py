"""The official network of the parity pack: its synthetic 3DMM as a head, its weights by the pack's rule."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facezoo.heads.file import write_head

SHARED = Path(os.environ.get("FACEZOO_SHARED", Path(__file__).parents[2] / "shared"))
PACK = SHARED / "parity" / "synergynet"


def write_official_head(pack: dict[str, Tensor], folder: Path) -> str:
    """Write the pack's 150 vertices as a head in the pack's own units and return its path."""
    u, shape, expression = (pack[f"basis.{k}"].double().numpy() for k in ("u", "w_shp", "w_exp"))
    count = len(u) // 3
    ids = pack["basis.keypoints"].view(68, 3).numpy() // 3
    assert (ids == ids[:, :1]).all()
    others = (ids[:, :1] + np.array([[1, 2]])) % count
    spare = np.stack([np.arange(0, count - 2, 3), np.arange(1, count - 1, 3), np.arange(2, count, 3)], 1)
    faces = np.concatenate([np.concatenate([ids[:, :1], others], 1), spare])
    arrays = {
        "v_template": u.reshape(count, 3),
        "faces": faces,
        "shapedirs": np.concatenate([shape, expression], 1).reshape(count, 3, -1),
        "posedirs": np.zeros((36, 3 * count)),
        "weights": np.tile([1.0, 0, 0, 0, 0], (count, 1)),
        "J_regressor.row": np.arange(5),
        "J_regressor.col": np.arange(5),
        "J_regressor.val": np.ones(5),
        "landmarks.ibug68.faces": np.arange(68),
        "landmarks.ibug68.bary": np.tile([1.0, 0, 0], (68, 1)),
    }
    meta = {"head_id": "synthetic-bfm", "licence": "CC0-1.0", "n_identity": 40}
    return str(write_head(folder / "bfm.safetensors", arrays, meta))


def official_state(gain: float = 1.0) -> dict[str, Tensor]:
    """Build the pack's weights by the rule in its README; ``gain`` multiplies the backbone's convolutions."""
    keys = json.loads((PACK / "keys.json").read_text())
    state = {}
    for name, shape, _, rule in keys["state_dict"]:
        if rule.startswith("buffer"):
            continue
        if rule == "zero":
            state[name] = torch.zeros((), dtype=torch.long)
            continue
        seed = zlib.crc32((keys["seed_prefix"] + name).encode()) & 0xFFFFFFFF
        v = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
        if rule == "weight/sqrt(fan_in)":
            v = v / np.float32(np.sqrt(np.prod(shape[1:])))
            if len(shape) == 4 and name.startswith("I2P.backbone.features"):
                v = v * np.float32(gain)
        elif rule == "bn.weight":
            v = 1 + np.float32(0.1) * v
        elif rule == "bn.running_var":
            v = 1 + np.float32(0.1) * np.abs(v)
        else:  # biases and running means
            v = np.float32(0.1) * v
        state[name] = torch.from_numpy(v.astype(np.float32))
    return state
