"""The head's vertices in the chart: rings around eyes, mouth, nostrils and ears, an even fill between them.

Everything that opens or folds (lids, lips, nostrils, ears) is a set of nested rings in the chart, so that one planar
Delaunay triangulation of the half disc gives the whole topology, cavities included, and a mirror gives the other half.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import Delaunay

from . import anatomy as an
from .skin import MOUTH_HALF_WIDTH, MOUTH_OPENING, Skin, lid_margin, lip_line_y

SKIN_VERTICES = 3931  # FLAME's count without the eyeballs
BOUNDARY = 60  # edges of the neck's rim; with 3931 vertices this gives 7800 faces
EYE_RING = 24
MOUTH_RING = 40
EAR_RING = 22
EYE_BAG = 3  # rings inside the lid margin, then a pole
MOUTH_BAG = 7
EAR_RINGS = 9
NOSTRIL_RING = 8


@dataclass
class Half:
    """Chart points of the half with θ >= 0."""

    chart: list[np.ndarray] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)  # "skin" or "<part>:<ring>:<index>"

    def add(self, chart: np.ndarray, kind: str, indices: np.ndarray | None = None) -> None:
        """Append points (N, 2); ring kinds get an index each."""
        chart = np.atleast_2d(chart)
        self.chart.append(chart)
        if kind == "skin":
            self.kind += ["skin"] * len(chart)
        else:
            self.kind += [f"{kind}:{i}" for i in (range(len(chart)) if indices is None else indices)]


def _blend(inner: np.ndarray, outer: np.ndarray, t: float) -> np.ndarray:
    return inner * (1 - t) + outer * t


def eye_rings(skin: Skin, half: Half) -> np.ndarray:
    """Add the left eye's rings; returns the outermost polygon (chart)."""
    n = EYE_RING // 2 + 1
    upper, lower = lid_margin(True, n), lid_margin(False, n)
    loop = np.concatenate([upper, lower[-2:0:-1]])  # inner corner, over the top, outer corner, back below
    margin = skin.locate(loop)
    centre = skin.locate(np.array([[31.4, 0.6, 5.0]]))[0]
    phi = np.arctan2((margin - centre)[:, 1] / 5.0, (margin - centre)[:, 0] * 100 / 12.3)
    outer = centre + np.stack([np.cos(phi) * 0.205, np.sin(phi) * 16.0], -1)
    outer[:, 1] += 0.5
    half.add(margin, "eye:0")
    for ring in range(1, EYE_BAG + 1):
        half.add(_blend(margin, centre, ring / (EYE_BAG + 1)), f"eye:{ring}")
    half.add(centre, f"eye:{EYE_BAG + 1}")
    for t in (0.17, 0.38, 0.66, 1.0):
        half.add(_blend(margin, outer, t), "skin")
    return outer


def mouth_loop() -> tuple[np.ndarray, np.ndarray]:
    """Points of the lip line, left corner over the upper lip to the right corner and back, (40, 2) x, y; and side."""
    n = MOUTH_RING // 2
    a = np.pi * np.arange(MOUTH_RING) / n
    x = MOUTH_HALF_WIDTH * np.cos(a) * (1 + 0.06 * np.sin(a) ** 2)
    side = np.where(np.abs(np.sin(a)) < 1e-9, 0.0, np.sign(np.sin(a)))
    return np.stack([x, lip_line_y(np.clip(np.abs(x), 0, MOUTH_HALF_WIDTH))], -1), side


def mouth_rings(skin: Skin, half: Half) -> np.ndarray:
    """Add the half of the mouth's rings with x >= 0; returns the outermost polygon (chart) of that half."""
    xy, side = mouth_loop()
    keep = xy[:, 0] > -1e-6
    xy, side, index = xy[keep], side[keep], np.flatnonzero(keep)
    xy[np.abs(xy[:, 0]) < 1e-6, 0] = 0.0
    order = np.argsort(np.where(index > MOUTH_RING // 2, index - MOUTH_RING, index))
    xy, side, index = (
        xy[order],
        side[order],
        index[order],
    )  # from the lower middle over the corner to the upper middle

    def chart_of(scale_x: float, out: float) -> np.ndarray:
        """Ring points: out < 0 inside the opening, 0 on the lip line, > 0 outside, in mm."""
        p = np.zeros((len(xy), 3))
        s = np.sqrt(np.clip(1 - (xy[:, 0] / MOUTH_HALF_WIDTH) ** 2, 0, 1))
        p[:, 0] = xy[:, 0] * scale_x
        p[:, 1] = xy[:, 1] + side * (MOUTH_OPENING * s + 1e-3)
        if out < 0:
            p[:, 1] = xy[:, 1] + side * MOUTH_OPENING * s * (1 + out)
            p[:, 0] = xy[:, 0] * (1 + 0.85 * out)
        else:
            p[:, 1] += side * out * (0.35 + 0.65 * s)
        p[:, 2] = np.interp(np.abs(p[:, 0]), [0, 10, 20, 26, 40], [24, 22, 15, 9, 0])
        c = skin.locate(p)
        c[p[:, 0] == 0, 0] = 0.0
        return c

    half.add(chart_of(1.0, 0.0), "mouth:0", index)
    for ring in range(1, MOUTH_BAG + 1):
        half.add(chart_of(1.0, -ring / (MOUTH_BAG + 1)), f"mouth:{ring}", index)
    line = chart_of(1.0, -0.999)
    half.add(np.array([[0.0, line[:, 1].mean()]]), f"mouth:{MOUTH_BAG + 1}")
    rings = [(1.03, 2.4), (1.075, 5.0), (1.13, 8.2), (1.22, 12.2)]
    for scale, out in rings:
        half.add(chart_of(scale, out), "skin")
    return chart_of(*rings[-1])


def nostril_rings(skin: Skin, half: Half) -> np.ndarray:
    """Add the left nostril's rim, its inner ring and its pole; returns the rim (chart)."""
    c = skin.locate(an.NOSTRIL_CENTRE[None])[0]
    phi = 2 * np.pi * np.arange(NOSTRIL_RING) / NOSTRIL_RING
    ring = np.stack([np.cos(phi) * 3.6 / 100, np.sin(phi) * 3.4], -1)
    tilt = np.stack([0.25 * np.sin(phi) * 3.0 / 100, 0 * phi], -1)
    half.add(c + ring + tilt, "skin")
    half.add(c + 0.5 * ring, "nostril:1")
    half.add(c, "nostril:2")
    return c + ring * 1.25 + tilt


def ear_rings(skin: Skin, half: Half) -> np.ndarray:
    """Add the left ear's rings; returns the footprint's polygon (chart)."""
    centre = skin.locate(np.array([[71.0, -8.0, -88.0]]))[0]
    phi = 2 * np.pi * np.arange(EAR_RING) / EAR_RING  # 0 = back of the head, quarter = up
    ring = np.stack([np.cos(phi) * 0.155, -np.sin(phi) * 25.0], -1)
    ring[:, 0] += -np.sin(phi) * -0.055  # the ear leans back
    for j in range(EAR_RINGS, 0, -1):
        half.add(centre + ring * j / EAR_RINGS, f"ear:{j}")
    half.add(centre, "ear:0")
    half.add(centre + ring * 1.16, "skin")
    return centre + ring * 1.16


def edge_length(skin: Skin, theta: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Wanted edge length in mm at chart points: fine on the face, coarse on the scalp and the neck."""
    p = skin(np.stack([np.abs(theta), s], -1))
    d = np.linalg.norm((p - [0, -32, 20]) / [1.0, 1.15, 1.0], axis=-1)
    t = np.clip((d - 62) / 95, 0, 1)
    nose = np.exp(-(((p - [0, -34, 32]) / [19, 17, 22]) ** 2).sum(-1))
    return (4.3 + 8.7 * t * t * (3 - 2 * t)) * (1 - 0.42 * nose)


def _inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    x, y = points[:, :1], points[:, 1:]
    a, b = polygon, np.roll(polygon, -1, 0)
    crosses = ((a[:, 1] > y) != (b[:, 1] > y)) & (
        x < (b[:, 0] - a[:, 0]) * (y - a[:, 1]) / (b[:, 1] - a[:, 1] + 1e-30) + a[:, 0]
    )
    return crosses.sum(1) % 2 == 1


def build_half(skin: Skin, iterations: int = 90, seed: int = 7) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Place and triangulate the half with θ >= 0.

    Returns:
        chart (N, 2), kinds (N), faces (M, 3) counter-clockwise seen from outside.
    """
    loft, half = skin.loft, Half()
    polygons = [
        eye_rings(skin, half),
        mouth_rings(skin, half),
        nostril_rings(skin, half),
        ear_rings(skin, half),
    ]
    mouth = polygons[1]
    polygons[1] = np.concatenate([mouth, [[-0.02, mouth[-1, 1]], [-0.02, mouth[0, 1]]]])

    # Neck rim, then the midline in front (outside the mouth) and behind, then the crown.
    rim = np.stack(
        [np.pi * np.arange(BOUNDARY // 2 + 1) / (BOUNDARY // 2), np.full(BOUNDARY // 2 + 1, loft.length)], -1
    )
    half.add(rim, "skin")
    gap = (mouth[:, 1].min(), mouth[:, 1].max())
    for theta, spans in ((0.0, [(0.0, gap[0]), (gap[1], loft.length)]), (np.pi, [(0.0, loft.length)])):
        for lo, hi in spans:
            fine = np.linspace(lo, hi, 3000)
            density = 1 / edge_length(skin, np.full(3000, theta), fine)
            count = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(fine))])
            n = max(round(float(count[-1])), 2)
            inner = np.interp(np.arange(1, n) / n * count[-1], count, fine)
            half.add(np.stack([np.full(len(inner), theta), inner], -1), "skin")
    half.add(np.array([[0.0, 0.0]]), "skin")
    fixed = np.concatenate(half.chart)
    on_middle = (np.abs(np.sin(fixed[:, 0])) < 1e-9) | (fixed[:, 1] < 1e-9)
    if on_middle.sum() % 2 == 0:  # 3931 is odd and mirrored vertices come in pairs
        half.add(np.array([[np.pi, loft.length * 0.5 + 1.7]]), "skin")
        fixed = np.concatenate(half.chart)
        on_middle = np.append(on_middle, True)
    free_count = (SKIN_VERTICES - int(on_middle.sum())) // 2 - int((~on_middle).sum())

    free = _fill(skin, fixed, polygons, free_count, iterations, seed)
    half.add(free, "skin")
    chart = np.concatenate(half.chart)
    disc = loft.disc(chart[:, 0], chart[:, 1])
    disc[np.abs(np.sin(chart[:, 0])) < 1e-9, 0] = 0.0
    faces = Delaunay(disc).simplices
    return chart, half.kind, _orient(disc, faces)


def _orient(disc: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = disc[faces[:, 0]], disc[faces[:, 1]], disc[faces[:, 2]]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    faces = faces[np.abs(area) > 1e-12]
    area = area[np.abs(area) > 1e-12]
    # Seen from the crown, with x to the left and the back up, outside normals make faces counter-clockwise.
    flip = area < 0
    faces[flip] = faces[flip][:, [0, 2, 1]]
    return faces


def _fill(
    skin: Skin, fixed: np.ndarray, polygons: list[np.ndarray], count: int, iterations: int, seed: int
) -> np.ndarray:
    """Spread free points so that edges have the wanted length (spring relaxation after Persson and Strang, 2004)."""
    loft, rng = skin.loft, np.random.default_rng(seed)
    zones = [loft.disc(p[:, 0], p[:, 1]) for p in polygons]

    def size(xy: np.ndarray) -> np.ndarray:
        theta, s = loft.from_disc(xy)
        return edge_length(skin, theta, s) / loft.mm_per_disc(s)

    def allowed(xy: np.ndarray) -> np.ndarray:
        ok = (xy[:, 0] > 1e-4) & (np.linalg.norm(xy, axis=1) < 0.999)
        for z in zones:
            ok &= ~_inside(xy, z)
        return ok

    # Candidates with density 1 / size², from a cylinder-wise uniform draw.
    theta = rng.uniform(0, np.pi, 60000)
    s = loft.length * np.sqrt(rng.uniform(0, 1, 60000))
    xy = loft.disc(theta, s)
    rho = loft.mm_per_disc(s) * np.linalg.norm(xy, axis=1)
    weight = rho / edge_length(skin, theta, s) ** 2 / np.maximum(s, 1)
    xy = xy[allowed(xy) & (rng.uniform(0, 1, len(xy)) < weight / weight.max())]
    anchor = loft.disc(fixed[:, 0], fixed[:, 1])
    chosen: list[np.ndarray] = []
    spacing = 0.95
    sizes = size(xy)
    while len(chosen) < count and spacing > 0.2:  # dart throwing, relaxed until enough points fit
        chosen, taken = [], anchor.copy()
        for p, h in zip(xy, sizes, strict=True):
            if len(chosen) < count and np.min(((taken - p) ** 2).sum(1)) > (spacing * h) ** 2:
                chosen.append(p)
                taken = np.concatenate([taken, p[None]])
        spacing *= 0.93
    if len(chosen) < count:
        raise RuntimeError(f"only {len(chosen)} of {count} free vertices fit: lower the edge length")
    free = np.array(chosen)
    m = len(anchor)
    for it in range(iterations):
        points = np.concatenate([anchor, free])
        tri = Delaunay(points).simplices
        edges = np.unique(
            np.sort(np.concatenate([tri[:, [0, 1]], tri[:, [1, 2]], tri[:, [2, 0]]]), axis=1), axis=0
        )
        d = points[edges[:, 0]] - points[edges[:, 1]]
        length = np.linalg.norm(d, axis=1)
        wanted = size((points[edges[:, 0]] + points[edges[:, 1]]) / 2)
        wanted = wanted * np.sqrt((length**2 / wanted**2).mean()) * 1.12
        force = np.clip(wanted - length, 0, None)[:, None] * d / np.maximum(length, 1e-12)[:, None]
        total = np.zeros_like(points)
        np.add.at(total, edges[:, 0], force)
        np.add.at(total, edges[:, 1], -force)
        moved = free + 0.18 * total[m:] * (1 - 0.5 * it / iterations)
        ok = allowed(moved)
        free = np.where(ok[:, None], moved, free)
    theta, s = loft.from_disc(free)
    return np.stack([theta, s], -1)
