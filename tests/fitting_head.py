"""A small smooth head with random bases, so that fitting is tested without any head file."""

from __future__ import annotations

import numpy as np
import torch

from facezoo.geometry import Camera, axis_angle_to_matrix
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams

F64 = torch.float64


def smooth_head(
    vertices: int = 120, identity: int = 8, expression: int = 5, *, bounded: bool = False, seed: int = 0
) -> HeadModel:
    """Build a face-sized ellipsoid with a nose, displacement fields of long waves and a jaw in its lower half.

    Args:
        vertices: how many.
        identity, expression: components; all together move vertices by some millimetres.
        bounded: expressions are weights in [0, 1].
        seed: of the random fields.
    """
    rng = np.random.default_rng(seed)
    # Fibonacci points on the front half of a sphere: even, deterministic, any number
    i = np.arange(vertices) + 0.5
    z, angle = 1 - 1.2 * i / vertices, np.pi * (1 + 5**0.5) * i
    unit = np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], 1)
    template = unit * np.array([0.075, 0.11, 0.09])
    template[:, 2] += 0.03 * np.exp(-(unit[:, :2] ** 2).sum(1) / 0.04)

    def fields(count: int, size: float) -> np.ndarray:
        waves = rng.normal(size=(count, 3, 6, 3)) * 2.0
        phase, height = rng.uniform(0, 2 * np.pi, (count, 3, 6)), rng.normal(size=(count, 3, 6))
        waves_at = np.sin(np.einsum("ckjd,vd->vckj", waves, unit) + phase)
        return size * np.einsum("ckj,vckj->vkc", height, waves_at) / (6 * count) ** 0.5

    expression_fields = fields(expression, 0.008) * np.exp(-((unit[:, 1] + 0.5) ** 2))[:, None, None]
    jaw = 1 / (1 + np.exp((unit[:, 1] + 0.4) * 12))
    weights = np.zeros((vertices, 5))
    weights[:, 2], weights[:, 1] = 0.9 * jaw, 1 - 0.9 * jaw
    chosen = rng.choice(vertices, 20, replace=False)
    row = np.repeat(np.arange(5), 4)
    arrays = {
        "v_template": template.astype(np.float32),
        "faces": np.stack(
            [np.arange(vertices - 2), np.arange(1, vertices - 1), np.arange(2, vertices)], 1
        ).astype(np.int32),
        "shapedirs": np.concatenate([fields(identity, 0.006), expression_fields], 2).astype(np.float32),
        "posedirs": (fields(36, 0.004).transpose(2, 0, 1).reshape(36, -1)).astype(np.float32),
        "weights": weights.astype(np.float32),
        "J_regressor.row": row.astype(np.int32),
        "J_regressor.col": chosen.astype(np.int32),
        "J_regressor.val": np.full(20, 0.25, np.float32),
        f"subset.{vertices // 2}": np.arange(0, 2 * (vertices // 2), 2).astype(np.int32),
    }
    meta = {"head_id": "smooth-test", "licence": "CC0-1.0", "n_identity": identity}
    if bounded:
        meta["expression_bounds"] = [[0.0, 1.0]] * expression
    return HeadModel(arrays, meta)


def random_scene(
    head: HeadModel, batch: int, *, seed: int = 1, yaw: float = 0.6, dtype: torch.dtype = F64
) -> tuple[HeadParams, Camera]:
    """Draw heads from the prior (bounded expressions uniformly) and cameras half a metre to a metre away."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=F64)

    expression = normal(batch, head.n_expression)
    if head.params["expression"].bounds is not None:
        expression = expression.clamp(0, 1)
    params = HeadParams(
        identity=normal(batch, head.n_identity),
        expression=expression,
        jaw=normal(batch, 3) * head.params["jaw"].sigma.double(),
    )
    turn = axis_angle_to_matrix(normal(batch, 3) * torch.tensor([0.2, yaw, 0.2], dtype=F64))
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=F64))
    t = torch.tensor([0.0, 0.0, 0.75], dtype=F64) + normal(batch, 3) * torch.tensor(
        [0.05, 0.05, 0.08], dtype=F64
    )
    k = Camera.default_K(480, 640, dtype=F64).expand(batch, 3, 3)
    return params.to(dtype), Camera(k, flip @ turn, t, (480, 640)).to(dtype)


def project(head: HeadModel, params: HeadParams, camera: Camera) -> torch.Tensor:
    """Project all vertices with the head's own forward pass: the oracle that shares no code with the solver."""
    twin = head.shared_copy().to(camera.K.dtype)
    return camera.project(twin(params).vertices)
