"""SSME: how far the motion of a tracked surface is off, seen in the picture, over horizons from a frame to a second.

FlowFace (Taubner et al. 2024) names the metric; its benchmark code and masks are not published. What is measured here:

A pixel of frame t shows a point of the true surface. ``h`` frames later that point is elsewhere; so is the point of the
tracked surface that covers the same pixel in frame t. SSME_h is the mean distance between the two, in pixels: over
frames, and over pixels whose true point is visible in BOTH frames (depth test with a tolerance of 1 cm). Where the
tracked surface does not cover the pixel it predicts no motion; the share that it covers is reported. SSME is the mean
over h = 1 ... H, H being a second. Short horizons show jitter, long ones drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.render.rasterizer import rasterize

TOLERANCE = 0.01  # metres
_FAR = 1000.0  # metres


@dataclass(frozen=True)
class Surface:
    """A mesh that moves before a camera.

    Attributes:
        vertices: (T, V, 3) metres, OpenCV camera axes.
        faces: (F, 3), counter-clockwise from outside.
        K: (3, 3) or (T, 3, 3); None where ``vertices`` hold pixels and depth, as a weak camera gives them.
    """

    vertices: Tensor
    faces: Tensor
    K: Tensor | None

    def project(self, points: Tensor, frame: int) -> Tensor:
        """Return pixels (..., 2) of camera points (..., 3) in a frame."""
        if self.K is None:
            return points[..., :2]
        pixel = points @ (self.K if self.K.dim() == 2 else self.K[frame]).to(points).mT
        return pixel[..., :2] / pixel[..., 2:].clamp(min=1e-6)

    def screen(self, frame: int) -> Tensor:
        """Return (V, 3) pixels and depth."""
        points = self.vertices[frame]
        # the rasteriser interpolates in perspective: what a weak camera sees is moved far away
        depth = points[:, 2:] if self.K is not None else points[:, 2:] + _FAR
        return torch.cat((self.project(points, frame), depth), 1)


@dataclass(frozen=True)
class SSME:
    """What was measured, in pixels.

    Attributes:
        horizons: frames ahead.
        curve: SSME_h of each.
        mean: over horizons.
        percent: the same in percent of ``side``.
        coverage: share of the pixels that the tracked surface covers.
        regions: name -> mean over horizons of the pixels that show it.
        side: root of the area of the true face's box, mean over frames, pixels.
    """

    horizons: list[int]
    curve: list[float]
    mean: float
    percent: float
    coverage: float
    regions: dict[str, float]
    side: float

    @property
    def jitter(self) -> float:
        """SSME from one frame to the next."""
        return self.curve[0]

    @property
    def drift(self) -> float:
        """SSME over the longest horizon."""
        return self.curve[-1]


@torch.no_grad()
def ssme(
    truth: Surface,
    tracked: Surface,
    size: tuple[int, int],
    horizons: Sequence[int],
    regions: Mapping[str, Tensor],
    main: str = "face",
    valid: Tensor | None = None,
) -> SSME:
    """Measure a track against the truth.

    Args:
        truth: true surface.
        tracked: tracked surface; its mesh may be another.
        size: (height, width) of the frames.
        horizons: frames ahead, rising.
        regions: name -> vertex ids of the true mesh; a face belongs to a region when all its corners do.
        main: the region that ``curve`` and ``mean`` are about.
        valid: (T,) False for frames to leave out, at either end of a motion.

    Raises:
        InputError: sizes do not fit, or nothing is left to measure.
    """
    frames = len(truth.vertices)
    if len(tracked.vertices) != frames or not horizons or min(horizons) < 1 or max(horizons) >= frames:
        raise InputError(
            f"truth and track need equally many frames ({frames}, {len(tracked.vertices)}) and horizons from 1 to "
            f"{frames - 1}, got {list(horizons)}."
        )
    if main not in regions:
        raise InputError(f"regions need the main one, {main!r}; got {', '.join(regions)}.")
    empty = [name for name, ids in regions.items() if not len(ids)]
    if empty:
        raise InputError(f"regions without vertices: {', '.join(empty)}.")
    use = torch.ones(frames, dtype=torch.bool) if valid is None else valid.cpu()
    members = {name: _faces_of(truth.faces, ids, truth.vertices.shape[1]) for name, ids in regions.items()}
    seen = [rasterize(truth.screen(t), truth.faces, size, cull_backfaces=False) for t in range(frames)]
    total = {name: torch.zeros(len(horizons), 2, dtype=torch.float64) for name in regions}
    covered, area = torch.zeros(2, dtype=torch.float64), 0.0
    for t in range(frames):
        if not use[t]:
            continue
        area += _side(truth, regions[main], t)
        wanted = seen[t].face_index[0] >= 0
        at = wanted.nonzero()
        face, bary = seen[t].face_index[0][wanted], seen[t].bary[0][wanted]
        mine = rasterize(tracked.screen(t), tracked.faces, size)
        own, own_bary = mine.face_index[0][wanted], mine.bary[0][wanted]
        hit = own >= 0
        inside = {name: member[face] for name, member in members.items()}
        covered += torch.tensor([float((hit & inside[main]).sum()), float(inside[main].sum())])
        for place, h in enumerate(horizons):
            if t + h >= frames or not use[t + h]:
                continue
            point = _points(truth, t + h, face, bary)
            pixel = truth.project(point, t + h)
            visible = _visible(seen[t + h].depth[0], pixel, point[:, 2])
            moved = tracked.project(_points(tracked, t + h, own.clamp(min=0), own_bary), t + h)
            still = at.flip(1).to(pixel) + 0.5
            miss = (torch.where(hit[:, None], moved, still) - pixel).norm(dim=1).double()
            for name in regions:
                chosen = visible & inside[name]
                total[name][place] += torch.stack((miss[chosen].sum(), chosen.sum().double()))
    curves = {name: (value[:, 0] / value[:, 1]) for name, value in total.items()}
    if not bool(torch.isfinite(curves[main]).all()):
        raise InputError(f"no pixel of {main!r} is visible at both ends of some horizon.")
    side = area / int(use.sum())
    mean = float(curves[main].mean())
    return SSME(
        list(horizons),
        [float(v) for v in curves[main]],
        mean,
        100 * mean / side,
        float(covered[0] / covered[1].clamp(min=1)),
        {name: float(curve.mean()) for name, curve in curves.items()},
        side,
    )


def _faces_of(faces: Tensor, ids: Tensor, count: int) -> Tensor:
    member = torch.zeros(count, dtype=torch.bool)
    member[ids.cpu()] = True
    return member[faces.cpu()].all(1)


def _side(truth: Surface, ids: Tensor, frame: int) -> float:
    points = truth.project(truth.vertices[frame][ids], frame)
    return float((points.amax(0) - points.amin(0)).prod().sqrt())


def _points(surface: Surface, frame: int, face: Tensor, bary: Tensor) -> Tensor:
    """Return the camera points (P, 3) of barycentric points in a frame."""
    return (surface.vertices[frame][surface.faces[face]] * bary[..., None].to(surface.vertices)).sum(1)


def _visible(depth: Tensor, pixel: Tensor, z: Tensor) -> Tensor:
    """Tell which points (P,) lie in the picture and not behind its surface."""
    height, width = depth.shape
    column, row = pixel[:, 0].floor().long(), pixel[:, 1].floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    front = depth[row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return inside & ((front <= 0) | (z <= front + TOLERANCE))
