"""What people wear: a torso in clothes, glasses, hats, hoods and masks."""

from __future__ import annotations

import colorsys

import numpy as np
import torch
from torch import Tensor

from facezoo.synth import noise
from facezoo.synth.hair import ellipsoid
from facezoo.synth.layout import Stage
from facezoo.synth.shells import Piece, grid_faces, shell, smooth_field


def cloth_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """A dyed fabric, linear RGB: greys, muted and vivid colours."""
    h, s, v = rng.random(), rng.beta(1.1, 2.0), rng.beta(1.2, 1.4)
    r, g, b = (float(0.01 + 0.8 * c**2.2) for c in colorsys.hsv_to_rgb(h, s, v))
    return r, g, b


def _pattern(rng: np.random.Generator) -> np.ndarray | None:
    """A fabric's pattern (64, 64) in [0.3, 1], or None."""
    kind = rng.random()
    if kind < 0.45:
        return None
    y, x = np.mgrid[0:64, 0:64] / 64
    if kind < 0.62:
        a, n = rng.uniform(0, np.pi), rng.integers(3, 16)
        f = (np.sin(2 * np.pi * n * (x * np.cos(a) + y * np.sin(a))) > rng.uniform(-0.6, 0.6)).astype(np.float32)
    elif kind < 0.72:
        n = rng.integers(3, 10)
        f = ((np.sin(2 * np.pi * n * x) > 0) ^ (np.sin(2 * np.pi * n * y) > 0)).astype(np.float32)
    else:
        f = noise.crop(rng, str(rng.choice(["fbm", "rough", "billow"])), (64, 64), float(rng.uniform(0.5, 3)))
    return (1 - rng.uniform(0.2, 0.7) * f).astype(np.float32)


def torso(rng: np.random.Generator, skin: tuple[float, float, float]) -> Piece:
    """Shoulders and chest in the frame of the neck's root, dressed; the neckline shows skin."""
    n = 36
    width, slope, depth = rng.uniform(0.165, 0.225), rng.uniform(0.03, 0.075), rng.uniform(0.085, 0.12)
    # Rows: half width, half depth, height, centre z.
    rows = np.array([
        [0.050, 0.044, -0.138, -0.088], [0.057, 0.052, -0.158, -0.090], [0.068, 0.064, -0.172, -0.092],
        [0.105, 0.076, -0.172 - 0.3 * slope, -0.092], [width * 0.82, depth * 0.85, -0.172 - slope, -0.09],
        [width, depth, -0.20 - slope, -0.088], [width * 1.02, depth * 1.1, -0.27 - slope, -0.085],
        [width * 0.97, depth * 1.2, -0.36 - slope, -0.08], [width * 0.93, depth * 1.2, -0.60, -0.08],
    ])  # fmt: skip
    phi = np.linspace(0, 2 * np.pi, n + 1)
    p = np.stack([
        rows[:, 0, None] * np.sin(phi), rows[:, 2, None] - 0.012 * np.cos(phi) + 0 * phi, rows[:, 3, None] + rows[:, 1, None] * np.cos(phi),
    ], -1)  # fmt: skip
    faces = grid_faces(len(rows), n + 1)
    v = torch.from_numpy(p.reshape(-1, 3)).float()
    u = np.broadcast_to(phi / (2 * np.pi), p.shape[:2]) * 6
    w = np.broadcast_to(np.linspace(0, 1, len(rows))[:, None], p.shape[:2]) * 4
    uv = torch.from_numpy(np.stack([u, w], -1).reshape(-1, 2) % 1.0).float()
    neckline = rng.choice([-0.145, -0.165, -0.185, -0.21], p=[0.2, 0.4, 0.25, 0.15])
    front = np.cos(phi)[None] * rng.uniform(0, 0.05) * (rng.random() < 0.5)
    bare = torch.from_numpy(((p[..., 1] + np.maximum(front, 0)) > neckline).reshape(-1))
    cloth = torch.tensor(cloth_colour(rng))
    colour = torch.where(bare[:, None], torch.tensor(skin), cloth)
    v = v + 0.004 * smooth_field(rng, v, 0.035)[:, None] * (~bare)[:, None]
    return Piece(v, faces, uv, colour, torch.full((len(v),), 0.05), "cloth", texture=_pattern(rng))


def _tube(path: Tensor, radius: float, around: int = 5, flat: float = 1.0) -> tuple[Tensor, Tensor]:
    """A tube along a path (N, 3)."""
    tangent = torch.nn.functional.normalize(torch.gradient(path, dim=0)[0], dim=1)
    up = torch.tensor([0.0, 0.3, 1.0]).expand_as(tangent)
    a = torch.nn.functional.normalize(torch.linalg.cross(tangent, up), dim=1)
    b = torch.linalg.cross(tangent, a)
    w = torch.arange(around) * 2 * np.pi / around
    ring = path[:, None] + radius * (torch.cos(w)[None, :, None] * a[:, None] + flat * torch.sin(w)[None, :, None] * b[:, None])
    n = len(path)
    i = torch.arange((n - 1) * around).reshape(n - 1, around)
    j = torch.roll(i, -1, 1)
    faces = torch.cat([torch.stack([i, i + around, j], -1).reshape(-1, 3), torch.stack([j, i + around, j + around], -1).reshape(-1, 3)])
    return ring.reshape(-1, 3), faces


def glasses(rng: np.random.Generator, stage: Stage, vertices: Tensor) -> list[Piece]:
    """Spectacles or sunglasses on a head (V, 3) in its rest orientation."""
    left = vertices[torch.from_numpy(stage.is_part("eyeball_left"))].mean(0)
    right = vertices[torch.from_numpy(stage.is_part("eyeball_right"))].mean(0)
    nose = stage.head.landmarks(vertices[None], "ibug68")[0, 27]
    sun = rng.random() < 0.35
    half_w, half_h = rng.uniform(0.021, 0.031), rng.uniform(0.013, 0.025)
    power = rng.choice([2.0, 2.6, 4.0])
    drop = rng.uniform(-0.002, 0.008)
    z = max(float(nose[2]) + 0.002, float(left[2]) + 0.021) + rng.uniform(0, 0.006)
    colour = cloth_colour(rng) if rng.random() < 0.4 else tuple(float(c) for c in np.array([0.02, 0.018, 0.016]) * rng.uniform(0.5, 4))
    radius = rng.uniform(0.0006, 0.0026)
    a = torch.linspace(0, 2 * np.pi, 33)
    pieces: list[Piece] = []
    wrap = rng.uniform(0, 0.28)
    tint = tuple(float(c) for c in (np.array(cloth_colour(rng)) * 0.25 if sun else (0.6, 0.65, 0.7)))
    opacity = float(rng.uniform(0.6, 0.98)) if sun else float(rng.choice([0.03, 0.08, 0.18]))

    def add(v: Tensor, f: Tensor, c: tuple, kind: str, alpha: float, gloss: float) -> None:
        pieces.append(Piece(v, f, torch.zeros(len(v), 2), torch.tensor(c).expand(len(v), 3), torch.full((len(v),), 0.02),
                            kind, gloss=gloss, alpha=alpha))  # fmt: skip

    gap = max(0.009, float(left[0] - right[0]) / 2 - half_w * rng.uniform(0.95, 1.12))
    rims = {}
    for sign, eye in ((1.0, left), (-1.0, right)):
        cx = sign * (gap + half_w)
        ca, sa = torch.cos(a), torch.sin(a)
        r = (ca.abs() ** power + sa.abs() ** power) ** (-1 / power)
        x = cx + half_w * ca * r
        y = float(eye[1]) - drop + half_h * sa * r - 0.1 * half_h * (sa < 0).float() * sa
        ring = torch.stack([x, y, z - wrap * (x.abs() - gap).clamp(min=0)], -1)
        rims[sign] = ring
        if rng.random() < 0.9 or radius > 0.001:
            add(*_tube(ring, radius), colour, "plain", 1.0, 0.4)
        centre = ring[:-1].mean(0, keepdim=True)
        fan = torch.cat([centre, ring])
        i = torch.arange(1, 33)
        add(fan, torch.stack([torch.zeros_like(i), i, i + 1], -1), tint, "glass", opacity, 0.9)
    y0 = float((left[1] + right[1]) / 2) - drop + half_h * 0.35
    t = torch.linspace(-1, 1, 9)
    add(*_tube(torch.stack([gap * t, y0 + 0.002 * (1 - t * t), z + 0.002 * (1 - t * t)], -1), radius), colour, "plain", 1.0, 0.4)
    ear = vertices[torch.from_numpy(stage.is_part("ear_left"))]
    for sign in (1.0, -1.0):
        start = rims[sign][(rims[sign][:, 0] * sign).argmax()]
        side = float(ear[:, 0].min()) + 0.004
        end = torch.tensor([sign * side, float(ear[:, 1].max()) - 0.018, float(ear[:, 2].mean()) + 0.004])
        middle = torch.stack([start, torch.stack([torch.tensor(sign * side), start[1] + 0.003, start[2] - 0.02]), end])
        path = torch.nn.functional.interpolate(middle.T[None], size=14, mode="linear", align_corners=True)[0].T
        add(*_tube(path, radius, flat=rng.uniform(1, 2.5)), colour, "plain", 1.0, 0.3)
    return _merged(pieces)


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Join pieces of one kind: every piece costs a rasterisation."""
    out = []
    for kind in dict.fromkeys(p.kind for p in pieces):
        group = [p for p in pieces if p.kind == kind]
        offsets = np.cumsum([0, *(len(p.vertices) for p in group)])
        first = group[0]
        out.append(Piece(
            torch.cat([p.vertices for p in group]), torch.cat([p.faces + int(o) for p, o in zip(group, offsets[:-1], strict=True)]),
            torch.cat([p.uv for p in group]), torch.cat([p.colour for p in group]), torch.cat([p.edge for p in group]),
            kind, gloss=first.gloss, alpha=first.alpha,
        ))  # fmt: skip
    return out


def hat(rng: np.random.Generator, stage: Stage, vertices: Tensor) -> tuple[list[Piece], float]:
    """A cap, beanie, brimmed hat, hood or scarf; also the height (rest y) above which hair must vanish."""
    rest = stage.rest
    x, y, z = rest.unbind(1)
    kind = rng.choice(["beanie", "cap", "brim", "hood", "helmet"], p=[0.27, 0.28, 0.2, 0.17, 0.08])
    colour = cloth_colour(rng)
    texture = _pattern(rng) if rng.random() < 0.5 else None
    look = {"texture": texture, "gloss": 0.05 if kind != "helmet" else 0.7, "fuzz": 0.0008}
    line = rng.uniform(0.036, 0.066)
    tilt = rng.normal(0.18, 0.1)
    height = y - line + 0.5 * tilt * (z + 0.02)
    pieces: list[Piece | None] = []
    if kind == "hood":
        frame = torch.maximum(y - rng.uniform(0.05, 0.075), (x.abs() - rng.uniform(0.058, 0.074)))
        frame = torch.maximum(frame, -(y + rng.uniform(0.122, 0.14)))
        frame = torch.maximum(frame, -(z + 0.055))
        pieces.append(shell(stage, vertices, frame, torch.full_like(y, rng.uniform(0.004, 0.02)), colour, "cloth", smooth=8, **look))
        return [p for p in pieces if p], -1.0
    thick = 0.006 + rng.uniform(0.0, 0.02) * torch.relu(height * 12).clamp(max=1)
    pieces.append(shell(stage, vertices, height, thick, colour, "cloth", smooth=5, **look))
    if kind in ("cap", "brim"):
        n = 41
        reach = rng.uniform(0.055, 0.08) if kind == "cap" else rng.uniform(0.04, 0.09)
        span = (-1.15, 1.15) if kind == "cap" else (-np.pi, np.pi)
        phi = torch.linspace(*span, n)
        turn = rng.choice([0.0, np.pi]) if kind == "cap" and rng.random() < 0.15 else 0.0
        half = torch.tensor([float(vertices[:, 0].abs().quantile(0.97)) + 0.004, 0.105])
        rows = []
        for t in (0.0, 0.35, 0.7, 1.0):
            fade = torch.cos(phi / 1.15 * np.pi / 2).clamp(min=0) ** 0.5 if kind == "cap" else torch.ones(n)
            r = 0.98 + t * reach / 0.1 * fade
            yy = line + 0.006 - t * rng.uniform(0.0, 0.022) - 0.018 * t * torch.sin(phi) ** 2 + 0.5 * tilt * (0.06 + t * reach) * torch.cos(phi)
            rows.append(torch.stack([half[0] * r * torch.sin(phi + turn), yy, -0.082 + half[1] * r * torch.cos(phi + turn)], -1))
        v = torch.stack(rows).reshape(-1, 3)
        f = grid_faces(4, n)
        brim = cloth_colour(rng) if rng.random() < 0.3 else colour
        pieces.append(Piece(v, f, torch.zeros(len(v), 2), torch.tensor(brim).expand(len(v), 3), torch.full((len(v),), 0.02), "cloth"))
    if kind == "beanie" and rng.random() < 0.3:
        v, f, uv = ellipsoid(torch.tensor([0.0, 0.145, -0.09]), torch.full((3,), rng.uniform(0.015, 0.03)), 12, 8)
        pieces.append(Piece(v, f, uv, torch.tensor(cloth_colour(rng)).expand(len(v), 3), torch.full((len(v),), 0.02), "cloth"))
    return [p for p in pieces if p], line - 0.004


def mask(rng: np.random.Generator, stage: Stage, vertices: Tensor) -> list[Piece]:
    """A medical mask or a scarf over the lower face."""
    x, y, z = stage.rest.unbind(1)
    top = rng.uniform(-0.026, -0.008)
    edge = torch.minimum(top - 0.35 * x.abs() + 0.006 - y, 0.064 - x.abs())
    edge = torch.minimum(edge, y + rng.uniform(0.112, 0.13))
    edge = torch.minimum(edge, z + 0.055)
    colour = (0.55, 0.68, 0.75) if rng.random() < 0.4 else cloth_colour(rng)
    piece = shell(stage, vertices, edge, torch.full_like(x, 0.004), colour, "cloth", smooth=14,
                  texture=_pattern(rng) if rng.random() < 0.4 else None, fuzz=0.0006)  # fmt: skip
    return [piece] if piece else []
