"""The mean head as one mesh of FLAME's size: 3931 skin vertices, then the left and the right eyeball."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from . import anatomy as an
from . import cavities as cv
from .layout import EAR_RINGS, EYE_RING, MOUTH_RING, build_half
from .skin import Skin, on_lid_sphere


@dataclass
class Template:
    """The mean head in mm, its chart and its bookkeeping.

    ``chart`` is (V, 2) (NaN on the eyeballs); ``part`` names each vertex's part and ring; ``mirror`` maps a vertex to
    its counterpart; ``lip_side`` is +1 above the mouth's line in the chart and -1 below.
    """

    vertices: np.ndarray
    faces: np.ndarray
    chart: np.ndarray
    part: np.ndarray
    ring: np.ndarray
    index: np.ndarray
    mirror: np.ndarray
    lip_side: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    skin: Skin

    def loop(self, part: str, ring: int) -> np.ndarray:
        """Vertex ids of one ring in order; ``part`` is mouth, eye_left, eye_right, ear_left, ear_right."""
        ids = np.flatnonzero((self.part == part) & (self.ring == ring))
        return ids[np.argsort(self.index[ids], kind="stable")]


def _ring_positions(chart: np.ndarray, kind: list[str], surface: np.ndarray) -> np.ndarray:
    """Replace the surface position of every vertex that belongs to a fold or a cavity."""
    out = surface.copy()
    table: dict[tuple[str, int], list[int]] = {}
    for i, k in enumerate(kind):
        if k != "skin":
            name, number, _ = k.split(":")
            table.setdefault((name, int(number)), []).append(i)
    for ids in table.values():
        ids.sort(key=lambda i: cv.loop_index(kind[i]))
    skin_ids = np.array([k == "skin" or k.startswith("eye:0") for k in kind])
    near_eye = np.linalg.norm(surface - an.EYE_CENTRE, axis=1) < 22
    lift = skin_ids & near_eye
    out[lift] = on_lid_sphere(out[lift], an.LID_RADIUS)
    margin = out[table["eye", 0]]
    for ring in range(1, max(r for p, r in table if p == "eye") + 1):
        out[table["eye", ring]] = cv.eye_bag(margin, ring)
    # The lip line is one curve in space for both lips; the half knows indices 0..10 and 30..39.
    ids = table["mouth", 0]
    loop = np.full((MOUTH_RING, 3), np.nan)
    index = np.array([cv.loop_index(kind[i]) for i in ids])
    loop[index] = out[ids]
    mirrored = (MOUTH_RING // 2 - index) % MOUTH_RING
    loop[mirrored] = out[ids] * [-1, 1, 1]
    # Upper and lower points of the closed mouth coincide up to 0.1 mm: average them.
    partner = (-np.arange(MOUTH_RING)) % MOUTH_RING
    mean = (loop + loop[partner]) / 2
    side = np.sign(np.sin(np.pi * np.arange(MOUTH_RING) / (MOUTH_RING // 2)).round(9))
    loop = mean + np.stack([0 * side, 0.05 * side, 0 * side], -1)
    out[ids] = loop[index]
    for (part, ring), members in table.items():
        if part == "mouth" and ring > 0:
            p = cv.mouth_bag(loop, ring)
            out[members] = p[[cv.loop_index(kind[i]) for i in members]] if len(p) > 1 else p
    if ("nostril", 1) in table:
        first = table["nostril", 1]
        rim = _nostril_rim(chart, kind, first)
        out[first] = cv.nostril(out[rim], 1)
        out[table["nostril", 2]] = cv.nostril(out[rim], 2)
    foot = surface[table["ear", EAR_RINGS]]
    for ring in range(EAR_RINGS):
        out[table["ear", ring]] = cv.ear_ring(ring, foot)
    return out


def _nostril_rim(chart: np.ndarray, kind: list[str], inner: list[int]) -> list[int]:
    """The skin vertices that were laid right before the nostril's inner ring are its rim."""
    start = inner[0]
    rim = list(range(start - len(inner), start))
    assert all(kind[i] == "skin" for i in rim)
    return rim


def uv_of_chart(chart: np.ndarray, length: float) -> np.ndarray:
    """Texture coordinates (N, 2) of chart points: v up, the face in the middle at about 2 texels per mm of 512."""
    u_of = PchipInterpolator([0, 1.2, 2.0, np.pi], [0, 0.66, 0.87, 1.0])
    v_of = PchipInterpolator([0, 100, 150, 297, length], [0.995, 0.86, 0.735, 0.15, 0.005])
    k = np.sqrt(np.clip(1 - (1 - np.minimum(chart[:, 1], 120.0) / 120.0) ** 2, 0, 1))
    u = 0.5 + 0.495 * np.sign(chart[:, 0]) * u_of(np.abs(chart[:, 0])) * k
    return np.stack([u, v_of(chart[:, 1])], -1)


def build_template() -> Template:
    """Build the mean head; deterministic."""
    skin = Skin()
    chart, kind, faces = build_half(skin)
    surface = skin(chart)
    middle = (np.abs(np.sin(chart[:, 0])) < 1e-9) | (chart[:, 1] < 1e-9)
    surface[middle, 0] = 0.0
    half = _ring_positions(chart, kind, surface)
    half[middle, 0] = 0.0
    n_half, n_mid = int((~middle).sum()), int(middle.sum())
    left = np.full(len(chart), -1)
    left[~middle] = np.arange(n_half)
    left[middle] = 2 * n_half + np.arange(n_mid)
    right = np.where(middle, left, left + n_half)
    total = 2 * n_half + n_mid
    vertices, full_chart = np.zeros((total, 3)), np.zeros((total, 2))
    part, ring, index = np.full(total, "skin", object), np.full(total, -1), np.full(total, -1)
    vertices[right], full_chart[right] = half * [-1, 1, 1], chart * [-1, 1]
    vertices[left], full_chart[left] = half, chart
    for i, k in enumerate(kind):
        if k == "skin":
            continue
        name, r, j = k.split(":")
        for ids, side in ((left, "left"), (right, "right")):
            v = ids[i]
            j_side = int(j)
            if name == "mouth":
                part[v] = "mouth"
                j_side = j_side if side == "left" else (MOUTH_RING // 2 - j_side) % MOUTH_RING
                if middle[i] and side == "right":
                    continue
            else:
                part[v] = f"{name}_{side}"
            ring[v], index[v] = int(r), j_side
    mirror = np.zeros(total, int)
    mirror[left], mirror[right] = right, left
    skin_faces = np.concatenate([left[faces], right[faces][:, [0, 2, 1]]])
    # Texture: the back seam's vertices get a twin on the right side.
    uv = uv_of_chart(full_chart, skin.loft.length)
    seam = np.flatnonzero(np.abs(np.abs(full_chart[:, 0]) - np.pi) < 1e-9)
    full_chart[seam, 0] = np.pi
    uv[seam] = uv_of_chart(full_chart[seam], skin.loft.length)
    twin_of = np.arange(total)
    twin_uv = uv[seam] * [-1, 1] + [1, 0]
    uv_right = faces.copy()
    uv_right = right[uv_right][:, [0, 2, 1]]
    balls = 2 * cv.eyeball()[0].shape[0]
    twin_of[seam] = total + balls + np.arange(len(seam))
    uv_faces = np.concatenate([left[faces], twin_of[uv_right]])

    ball, ball_faces, angles = cv.eyeball()
    around = np.arctan2(*(ball - an.EYE_CENTRE)[:, [1, 0]].T)
    radius = 0.062 * (angles / 180.0) ** 0.6
    disc = np.stack([np.cos(around), np.sin(around)], -1) * radius[:, None]
    flipped = ball * [-1, 1, 1]
    n = len(ball)
    vertices = np.concatenate([vertices, ball, flipped])
    faces_all = np.concatenate([skin_faces, ball_faces + total, ball_faces[:, [0, 2, 1]] + total + n])
    uv = np.concatenate([uv, disc + [0.93, 0.93], disc * [-1, 1] + [0.07, 0.93], twin_uv])
    uv_faces = np.concatenate([uv_faces, ball_faces + total, ball_faces[:, [0, 2, 1]] + total + n])
    mirror = np.concatenate([mirror, np.arange(n) + total + n, np.arange(n) + total])
    part = np.concatenate([part, np.repeat(["eyeball_left", "eyeball_right"], n)])
    ring = np.concatenate([ring, np.full(2 * n, -1)])
    index = np.concatenate([index, np.tile(np.arange(n), 2)])
    full_chart = np.concatenate([full_chart, np.full((2 * n, 2), np.nan)])
    mouth_s = full_chart[(part == "mouth") & (ring == 8), 1].mean()
    with np.errstate(invalid="ignore"):
        lip_side = np.where(full_chart[:, 1] < mouth_s, 1.0, -1.0)
    loops = (part == "mouth") & (ring < 8)
    turn = np.sin(np.pi * index[loops] / (MOUTH_RING // 2)).round(9)
    lip_side[loops] = np.sign(turn)
    assert EYE_RING % 2 == 0
    return Template(vertices, faces_all, full_chart, part, ring, index, mirror, lip_side, uv, uv_faces, skin)
