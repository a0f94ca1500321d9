"""Hair and beards: caps on the scalp, fringes, curtains of long hair, buns and tails, all with ragged soft edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from facezoo.synth.layout import Stage
from facezoo.synth.shells import Piece, grid_faces, shell, smooth_field
from facezoo.synth.skin_paint import SkinTraits


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def grow_hair(
    rng: np.random.Generator, stage: Stage, vertices: Tensor, traits: SkinTraits, female: bool
) -> list[Piece]:
    """Draw a hair style for a head (V, 3) in its rest orientation; an empty list is a bald head."""
    style = rng.random()
    length = rng.choice(4, p=(0.08, 0.14, 0.26, 0.52) if female else (0.2, 0.52, 0.2, 0.08))
    if traits.age < 12 and length == 0:
        length = 1
    if length == 0:  # bald or shaved: the skin painter's stubble is all there is
        return []
    rest = stage.rest
    x, y, z = rest.unbind(1)
    scalp = torch.from_numpy(stage.scalp).float()
    line = scalp + 0.006 * smooth_field(rng, rest, 0.03) + rng.normal(0.0, 0.004)
    line = line - traits.receding * _ramp(y, 0.03, 0.07) * _ramp(z, -0.05, 0.0)
    tint = np.clip(np.array(traits.hair) * rng.uniform(0.8, 1.25), 0.004, 0.8)
    colour = (float(tint[0]), float(tint[1]), float(tint[2]))
    curls = rng.random() < 0.3
    volume = float(np.exp(rng.normal(np.log((0.006, 0.013, 0.02)[length - 1]), 0.45)))
    if curls and rng.random() < 0.4:
        volume = rng.uniform(0.02, 0.065)
    lumps = 1 + (0.35 if curls else 0.18) * smooth_field(rng, rest, 0.018 if curls else 0.04)
    sides = 1 - rng.uniform(0, 0.65) * (1 - _ramp(y, 0.02, 0.09))
    thickness = (0.002 + volume * _ramp(line, 0.0, 0.03) * sides * lumps).clamp(0.0015, 0.09)
    if rng.random() < 0.35:  # swept up in front
        thickness = thickness * (1 + rng.uniform(0, 1.2) * _ramp(z, -0.04, 0.02) * _ramp(y, 0.05, 0.09))
    inside = line
    if rng.random() < (0.5 if female else 0.3):  # a fringe
        drop = rng.uniform(0.01, 0.055)
        tilt, wave = rng.normal(0, 0.25), smooth_field(rng, rest, 0.012)
        width = rng.uniform(0.03, 0.062)
        edge = (y - (0.072 - drop) - tilt * x + 0.004 * wave) * _ramp(-(x.abs() - width), -0.008, 0.008)
        edge = torch.where((z > -0.05) & (x.abs() < width + 0.01), edge, torch.full_like(edge, -1.0))
        thickness = torch.where(
            edge > scalp, torch.maximum(thickness, 0.004 + 0.25 * volume * torch.ones_like(y)), thickness
        )
        inside = torch.maximum(inside, edge)
    fuzz = rng.uniform(0.004, 0.014)
    look: dict[str, Any] = {
        "gloss": float(rng.uniform(0.05, 0.5)),
        "strands": float(rng.uniform(0.35, 0.8)),
        "fuzz": float(fuzz),
    }
    pieces = [shell(stage, vertices, inside, thickness, colour, "hair", **look)]
    if length == 3 or (length == 2 and rng.random() < 0.45):
        pieces.append(_curtain(rng, vertices, colour, volume, look, long=length == 3))
    elif style < 0.25 and female:
        pieces.append(_blob(rng, colour, look))
    return [p for p in pieces if p is not None]


def _curtain(
    rng: np.random.Generator, vertices: Tensor, colour: tuple, volume: float, look: dict, long: bool
) -> Piece:
    """Hair that hangs round the sides and the back."""
    n_around, n_down = 56, 16
    free = rng.uniform(0.75, 1.75, 2)  # radians left free in front, at the subject's left and right
    free[1] = free[0] if rng.random() < 0.5 else free[1]
    if rng.random() < 0.15:  # it falls over one side of the face
        free[rng.integers(2)] = rng.uniform(0.2, 0.7)
    bottom = rng.uniform(-0.22, -0.12) if long else rng.uniform(-0.12, -0.04)
    top = 0.075
    phi = torch.linspace(float(free[0]), float(2 * np.pi - free[1]), n_around)
    t = torch.linspace(0, 1, n_down)
    phi_g, t_g = torch.meshgrid(phi, t, indexing="ij")
    half_breadth = float(vertices[:, 0].abs().quantile(0.97))
    puff = 0.004 + 0.6 * volume
    spread = rng.uniform(-0.015, 0.04) if long else rng.uniform(-0.01, 0.02)
    a = half_breadth - 0.006 + puff + spread * t_g
    b = 0.09 + puff + spread * t_g - 0.045 * _ramp(t_g, 0.35, 1.0)
    y = top + (bottom - top) * t_g + 0.012 * torch.cos(phi_g * 3 + rng.uniform(0, 6))
    points = torch.stack([a * torch.sin(phi_g), y, -0.082 + b * torch.cos(phi_g)], -1).reshape(-1, 3)
    wave = smooth_field(rng, points * torch.tensor([1.0, 0.35, 1.0]), 0.016)
    out = torch.stack([torch.sin(phi_g), 0 * phi_g, torch.cos(phi_g)], -1).reshape(-1, 3)
    points = points + out * (0.004 * wave)[:, None]
    # The upper rim tucks under the cap.
    points = points - out * (0.028 * (1 - _ramp(t_g, 0.0, 0.3))).reshape(-1, 1)
    faces = grid_faces(n_around, n_down, flip=True)
    # Seen from outside the grid runs left to right and down.
    side = torch.minimum(phi_g - free[0], 2 * np.pi - free[1] - phi_g) * 0.08
    edge = torch.minimum(side, (1 - t_g) * (top - bottom)).reshape(-1) - 0.004
    uv = torch.stack([phi_g / (2 * np.pi), 1 - t_g], -1).reshape(-1, 2)
    return Piece(points, faces, uv, torch.tensor(colour).expand(len(points), 3), edge, "hair", **look)


def ellipsoid(centre: Tensor, radii: Tensor, n: int = 20, m: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices (N, 3), faces and uv of an ellipsoid."""
    around = torch.linspace(0, 2 * np.pi, n + 1)
    polar = torch.linspace(0.02, np.pi - 0.02, m)
    a, p = torch.meshgrid(around, polar, indexing="ij")
    unit = torch.stack([torch.sin(p) * torch.sin(a), torch.cos(p), torch.sin(p) * torch.cos(a)], -1)
    faces = grid_faces(n + 1, m, flip=True)
    uv = torch.stack([a / (2 * np.pi), 1 - p / np.pi], -1)
    return (centre + unit * radii).reshape(-1, 3), faces, uv.reshape(-1, 2)


def _blob(rng: np.random.Generator, colour: tuple, look: dict) -> Piece:
    """A bun or a pony tail."""
    r = rng.uniform(0.028, 0.05)
    if rng.random() < 0.5:
        centre = torch.tensor([0.0, rng.uniform(0.02, 0.12), -0.19 + rng.uniform(-0.005, 0.03)])
        radii = torch.tensor([r, r, r * 0.8])
    else:
        centre = torch.tensor([rng.normal(0, 0.01), -0.04, -0.20])
        radii = torch.tensor([r * 0.8, rng.uniform(0.07, 0.12), r * 0.7])
    v, f, uv = ellipsoid(centre, radii)
    v = v + 0.003 * smooth_field(rng, v, 0.012)[:, None] * torch.tensor([1.0, 0, 1])
    return Piece(
        v, f, uv, torch.tensor(colour).expand(len(v), 3), torch.full((len(v),), 0.02), "hair", **look
    )


def grow_beard(rng: np.random.Generator, stage: Stage, vertices: Tensor, traits: SkinTraits) -> list[Piece]:
    """A beard with volume over the painted one."""
    if (
        traits.beard not in ("full", "curtain", "goatee", "circle")
        or traits.beard_density < 0.5
        or rng.random() < 0.35
    ):
        return []
    rest = stage.rest
    x, y, z = rest.unbind(1)
    inside = torch.from_numpy(stage.beard).float() - 0.004 + 0.003 * smooth_field(rng, rest, 0.012)
    mouth = torch.exp(-0.5 * ((x / 0.028) ** 2 + ((y + 0.067) / 0.013) ** 2))
    inside = inside - 0.03 * mouth * (z > 0).float()
    if traits.beard in ("goatee", "circle"):
        inside = torch.minimum(inside, 0.036 - x.abs())
    if traits.beard == "curtain":
        inside = torch.minimum(inside, torch.maximum(x.abs() - 0.03, -0.088 - y))
    depth = float(np.exp(rng.normal(np.log(0.006), 0.6)))
    chin = 1 + rng.uniform(0, 2.5) * _ramp(-y, 0.085, 0.12) * _ramp(z, -0.05, 0.0)
    thickness = (0.001 + depth * _ramp(inside, 0, 0.014) * chin).clamp(max=0.05)
    piece = shell(stage, vertices, inside, thickness, traits.body_hair, "hair",
                  gloss=0.08, strands=float(rng.uniform(0.4, 0.8)), fuzz=float(rng.uniform(0.003, 0.008)))  # fmt: skip
    return [piece] if piece else []
