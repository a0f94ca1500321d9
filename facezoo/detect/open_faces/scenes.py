"""Training pictures for the detector: a canvas cut into rectangles, in each a synthetic person or none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facezoo.data import degrade
from facezoo.detect.open_faces.net import STRIDE
from facezoo.detect.open_faces.patterns import sample_pattern
from facezoo.synth.background import sample_background

_EMPTY = 0.3  # share of rectangles without a face
_SMALLEST_CELL, _SMALLEST_FACE = 22, 11.0  # pixels


class Scenes(NamedTuple):
    """A batch of canvases.

    Attributes:
        images: (B, 3, S, S) in [0, 1].
        heat: (B, h, w) target in [0, 1], 1 at face centres.
        boxes: (B, 4, h, w) as :class:`facezoo.detect.open_faces.net.FaceMap`.
        weight: (B, h, w) where the box is learned.
    """

    images: Tensor
    heat: Tensor
    boxes: Tensor
    weight: Tensor


def backgrounds(count: int, size: int, seed: int) -> Tensor:
    """Render (count, 3, size, size) uint8 pictures without people: two backgrounds for one sharp pattern."""
    pictures = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        if i % 3 == 2:
            pictures.append(np.asarray(sample_pattern(rng, size)))
        else:
            pictures.append((sample_background(rng, (size, size)) * 255).astype(np.uint8))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def cut(
    rng: np.random.Generator, box: tuple[int, int, int, int], depth: int
) -> list[tuple[int, int, int, int]]:
    """Cut a rectangle (x0, y0, x1, y1) into smaller ones by straight cuts."""
    x0, y0, x1, y1 = box
    wide = x1 - x0 >= y1 - y0
    length = x1 - x0 if wide else y1 - y0
    if depth == 0 or length < 2 * _SMALLEST_CELL or rng.random() < 0.12:
        return [box]
    at = int(np.clip(length * rng.uniform(0.3, 0.7), _SMALLEST_CELL, length - _SMALLEST_CELL))
    halves = (
        [(x0, y0, x0 + at, y1), (x0 + at, y0, x1, y1)]
        if wide
        else [(x0, y0, x1, y0 + at), (x0, y0 + at, x1, y1)]
    )
    return [cell for half in halves for cell in cut(rng, half, depth - 1)]


def sample_scenes(
    rng: np.random.Generator, people: dict[str, Tensor], empty: Tensor, count: int, size: int = 256
) -> Scenes:
    """Compose canvases.

    Args:
        rng: the only source of randomness.
        people: ``images`` (N, 3, P, P) uint8 and ``lm68`` (N, 68, 2) of rendered people.
        empty: (M, 3, Q, Q) uint8 pictures without a face.
        count: canvases.
        size: their side, a multiple of 32.
    """
    images = torch.zeros(count, 3, size, size)
    cells = size // STRIDE
    heat, boxes = torch.zeros(count, cells, cells), torch.zeros(count, 4, cells, cells)
    weight = torch.zeros(count, cells, cells)
    for b in range(count):
        for cell in cut(rng, (0, 0, size, size), int(rng.choice(6, p=(0.2, 0.2, 0.2, 0.15, 0.15, 0.1)))):
            x0, y0, x1, y1 = cell
            if rng.random() < _EMPTY:
                images[b, :, y0:y1, x0:x1] = _without_face(rng, people, empty, (y1 - y0, x1 - x0))
                continue
            who = int(rng.integers(len(people["images"])))
            patch, points = _with_face(rng, people["images"][who], people["lm68"][who], (y1 - y0, x1 - x0))
            images[b, :, y0:y1, x0:x1] = patch
            points = points + torch.tensor([x0, y0])
            low, high = points.amin(0), points.amax(0)
            _mark(heat[b], boxes[b], weight[b], torch.cat([low, high]))
    return Scenes(_damage(images, rng), heat, boxes, weight)


def _with_face(
    rng: np.random.Generator, image: Tensor, points: Tensor, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Place a person in a rectangle (h, w): the patch (3, h, w) and the points (68, 2) in it."""
    h, w = shape
    low, high = points.amin(0), points.amax(0)
    side = float((high - low).prod().sqrt())
    face = max(min(h, w) * rng.uniform(0.35, 0.95), _SMALLEST_FACE)
    turn = rng.normal(0, 12) if rng.random() < 0.85 else rng.uniform(-100, 100)
    angle, zoom = np.radians(turn), face / side
    linear = (
        torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float32)
        * zoom
    )
    if rng.random() < 0.5:
        linear = linear @ torch.diag(torch.tensor([-1.0, 1.0]))
    # The face stays inside, but for one in six that the border cuts.
    reach = face * (0.5 if rng.random() < 0.83 else 0.2)
    target = [rng.uniform(min(reach, n / 2), max(n - reach, n / 2)) for n in (w, h)]
    offset = torch.tensor(target, dtype=torch.float32) - linear @ ((low + high) / 2)
    return _warp(image, linear, offset, shape), points @ linear.T + offset


def _without_face(
    rng: np.random.Generator, people: dict[str, Tensor], empty: Tensor, shape: tuple[int, int]
) -> Tensor:
    """A patch (3, h, w) of background, or of a corner of somebody's picture: hair, clothes, hands."""
    h, w = shape
    if rng.random() < 0.6:
        image = empty[int(rng.integers(len(empty)))]
        span = image.shape[-1] * rng.uniform(0.3, 1.0)
        origin = rng.uniform(0, image.shape[-1] - span, 2)
    else:
        who = int(rng.integers(len(people["images"])))
        image, points = people["images"][who], people["lm68"][who]
        n = image.shape[-1]
        low, high = points.amin(0).tolist(), points.amax(0).tolist()
        right, below = rng.random() < 0.5, rng.random() < 0.65
        room = max(n - high[0] if right else low[0], n - high[1] if below else low[1])
        span = float(np.clip(room * 0.95, 24, n / 2))
        origin = np.array([n - span if right else 0.0, n - span if below else 0.0])
    zoom = max(h, w) / span
    linear = torch.eye(2) * zoom
    return _warp(image, linear, torch.tensor(-origin * zoom, dtype=torch.float32), shape)


def _warp(image: Tensor, linear: Tensor, offset: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample a picture (3, P, P) uint8 by p -> linear p + offset into (3, h, w)."""
    h, w = shape
    n = image.shape[-1]
    zoom = float(torch.linalg.det(linear).abs().sqrt())
    picture = image[None].float().div_(255)
    if zoom < 0.7:  # shrink first, or small faces are noise
        small = max(4, round(n * zoom * 1.3))
        picture = F.interpolate(picture, size=(small, small), mode="bilinear", antialias=True)
    inverse = torch.linalg.inv(linear)
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    source = (torch.stack([x, y], -1) - offset) @ inverse.T
    return F.grid_sample(picture, (source * (2 / n) - 1)[None], padding_mode="border", align_corners=False)[0]


def _mark(heat: Tensor, boxes: Tensor, weight: Tensor, box: Tensor) -> None:
    """Draw one face (4,) in pixels into the targets of its canvas."""
    x0, y0, x1, y1 = (box / STRIDE).tolist()
    cells = heat.shape[-1]
    cx, cy, w, h = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    if not (0 <= cx < cells and 0 <= cy < cells):
        return
    axis = torch.arange(cells) + 0.5
    spread = max(0.5, (w * h) ** 0.5 / 7)
    dx, dy = cx - axis, cy - axis
    bump = torch.exp(-0.5 * ((dx[None] / spread) ** 2 + (dy[:, None] / spread) ** 2))
    row, column = int(cy), int(cx)
    bump[row, column] = 1.0
    near = (bump > 0.5) & (bump > weight)
    values = (dx[None].expand(cells, -1), dy[:, None].expand(-1, cells))
    for k, value in enumerate(values):
        boxes[k][near] = value[near]
    boxes[2][near], boxes[3][near] = float(np.log(max(w, 1e-3))), float(np.log(max(h, 1e-3)))
    weight[near] = bump[near]
    torch.maximum(heat, bump, out=heat)


def _damage(images: Tensor, rng: np.random.Generator) -> Tensor:
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    x = degrade.jitter_color(images, generator, 0.4, 0.08)
    x = degrade.blur(x, generator, 0.1, 1.5)
    x = degrade.add_noise(x, generator, 0.15, 0.05)
    return degrade.compress(x, generator, 0.15, 30.0)
