"""Turntables: random people with named expressions, rendered grey, to be looked at."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from facezoo.geometry.rotations import axis_angle_to_matrix
from facezoo.heads import HeadModel, HeadParams, load_head
from facezoo.mesh.normals import vertex_normals

from .check import sample_identities

EXPRESSIONS: tuple[dict[str, float], ...] = (
    {},
    {"mouthSmileLeft": 1, "mouthSmileRight": 1, "cheekSquintLeft": 0.7, "cheekSquintRight": 0.7},
    {"jawOpen": 0.8},
    {"eyeBlinkLeft": 1, "eyeBlinkRight": 1},
    {"mouthPucker": 1},
    {
        "browInnerUp": 1,
        "browOuterUpLeft": 1,
        "browOuterUpRight": 1,
        "eyeWideLeft": 1,
        "eyeWideRight": 1,
        "jawOpen": 0.3,
    },
    {"browDownLeft": 1, "browDownRight": 1, "noseSneerLeft": 0.8, "noseSneerRight": 0.8},
    {"mouthFrownLeft": 1, "mouthFrownRight": 1, "mouthShrugLower": 0.6},
)


def expression_params(head: HeadModel, weights: dict[str, float]) -> HeadParams:
    """ARKit weights, joint-borne ones included, as head parameters (a batch of one)."""
    names = head.params["expression"].names
    expression = torch.zeros(1, len(names))
    joints = {name: torch.zeros(1, 3) for name in ("jaw", "left_eye", "right_eye")}
    for name, w in weights.items():
        if name in head.meta["joint_shapes"]:
            joint, axis, degrees = head.meta["joint_shapes"][name]
            joints[joint][0, axis] += w * np.radians(degrees)
        if name in names:
            expression[0, names.index(name)] = w
    return HeadParams(expression=expression, **joints)


def render_grey(head: HeadModel, vertices: torch.Tensor, yaw: float, size: int) -> np.ndarray:
    """Render (V, 3) head vertices in metres turned by yaw degrees; (size, size, 3) uint8."""
    from facezoo.render.interpolation import interpolate
    from facezoo.render.rasterizer import rasterize

    faces = head.topology.faces
    turn = axis_angle_to_matrix(torch.tensor([[0.0, float(np.radians(yaw)), 0.0]]))[0]
    v = (vertices - torch.tensor([0.0, -0.02, -0.06])) @ turn.T
    scale = size / 0.30
    screen = torch.stack([v[:, 0] * scale + size / 2, size / 2 - v[:, 1] * scale, 1 - v[:, 2]], -1)
    fragments = rasterize(screen[None], faces, (size, size), cull_backfaces=True)
    normals = interpolate(fragments, faces, vertex_normals(v[None], faces))[0]
    normals = torch.nn.functional.normalize(normals, dim=-1)
    key = torch.tensor([-0.45, 0.5, 0.75])
    fill = torch.tensor([0.8, 0.1, 0.4])
    light = (
        0.18
        + 0.75 * (normals @ (key / key.norm())).clamp(min=0)
        + 0.22 * (normals @ (fill / fill.norm())).clamp(min=0)
    )
    ball = head.topology.faces[:, 0] >= len(vertices) - 1092
    tone = torch.where(
        ball[fragments.face_index[0].clamp(min=0)][..., None],
        torch.tensor([0.95, 0.95, 0.95]),
        torch.tensor([0.80, 0.62, 0.53]),
    )
    picture = (tone * light[..., None]).clamp(0, 1) ** (1 / 1.6)
    picture[fragments.face_index[0] < 0] = 0.12
    return (picture * 255).byte().numpy()


def turntable(people: int = 20, size: int = 150, seed: int = 4) -> Image.Image:
    """One row a person, one column an expression; the view turns from row to row of three-quarter and front."""
    head = load_head("open-v1")
    rows = []
    with torch.no_grad():
        for i in range(people):
            identity = sample_identities(head, ("male", "female")[i % 2], 1, seed=seed * 1000 + i)
            cells = []
            for k, weights in enumerate(EXPRESSIONS):
                params = expression_params(head, weights)
                full = HeadParams(identity=identity, expression=params.expression, jaw=params.jaw)
                yaw = (0.0, 25.0, -40.0, 65.0)[(i + k) % 4]
                cells.append(render_grey(head, head(full).vertices[0], yaw, size))
            rows.append(np.concatenate(cells, 1))
    return Image.fromarray(np.concatenate(rows, 0))
