"""What stabilising did: a strip of frames before and after, and a map of how far each vertex travels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from facezoo.mesh.normals import vertex_normals
from facezoo.render import interpolate, rasterize

_PAPER, _INK, _GUIDE = (255, 255, 255), (40, 40, 40), (214, 69, 65)
_CLAY = (0.78, 0.76, 0.74)
_LAMP = (-0.35, 0.45, 0.82)  # over the viewer's left shoulder, head axes
_AMBIENT = 0.3
_TURN = 0.25  # radians: a little from the side, where forehead and chin are seen to move
_FAR = 10.0  # metres to the camera: as good as orthographic
_MARGIN = 1.06
# Travel: still, a little, much. Dark blue, green, yellow, as read without colour from dark to bright.
_RAMP = ((0.0, (48, 18, 90)), (0.33, (45, 112, 142)), (0.66, (90, 200, 101)), (1.0, (253, 231, 37)))
_SMOOTH = 2


def strip(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    faces: NDArray[np.int64],
    columns: int = 8,
    side: int = 150,
) -> Image.Image:
    """Draw frames of a sequence side by side, before above and after below, all seen by one camera.

    Red lines stand still: whatever moves against them moves in space.

    Args:
        before: (N, V, 3) metres.
        after: (N, V, 3).
        faces: (F, 3).
        columns: frames shown, spread evenly over the sequence.
        side: pixels of one picture's side.
    """
    chosen = np.linspace(0, len(before) - 1, min(columns, len(before))).round().astype(int)
    view = _View(np.concatenate([before[chosen], after[chosen]]), side)
    label = 18
    sheet = Image.new("RGB", (side * len(chosen), 2 * (side + label)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (name, frames) in enumerate((("before", before), ("after", after))):
        top = row * (side + label)
        draw.text((6, top + 2), name, fill=_INK, font=ImageFont.load_default(13))
        for column, index in enumerate(chosen):
            picture = view.draw(frames[index], faces)
            lines = ImageDraw.Draw(picture)
            for share in (0.38, 0.72):
                lines.line((0, share * side, side, share * side), fill=_GUIDE)
                lines.line((share * side, 0, share * side, side), fill=_GUIDE)
            sheet.paste(picture, (column * side, top + label))
    return sheet


def heat_map(
    before: NDArray[np.float32], after: NDArray[np.float32], faces: NDArray[np.int64], side: int = 260
) -> Image.Image:
    """Colour each vertex by how far it travels: root mean square distance from its mean place, before and after.

    Both share one scale, which ends where 98 % of the vertices after stabilising lie.
    """
    travels = [1e3 * np.sqrt(((f - f.mean(0)) ** 2).sum(-1).mean(0)) for f in (before, after)]
    most = max(float(np.percentile(travels[1], 98)), 0.5)
    view = _View(np.stack([before.mean(0), after.mean(0)]), side)
    sheet = Image.new("RGB", (2 * side + 70, side + 18), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for column, (name, frames, travel) in enumerate(
        zip(("before", "after"), (before, after), travels, strict=True)
    ):
        draw.text((column * side + 6, 2), f"{name}: {travel.mean():.1f} mm on average", fill=_INK, font=font)
        place = frames.mean(0) - frames.mean((0, 1)) + before.mean((0, 1))
        sheet.paste(view.draw(place, faces, _coloured(travel / most)), (column * side, 18))
    bar = _coloured(np.linspace(1, 0, side - 40))[:, None].repeat(16, 1)
    sheet.paste(Image.fromarray((bar * 255).round().astype(np.uint8)), (2 * side + 8, 38))
    draw.text((2 * side + 28, 30), f"{most:.1f}", fill=_INK, font=font)
    draw.text((2 * side + 28, side - 10), "0 mm", fill=_INK, font=font)
    return sheet


class _View:
    """One camera for many meshes."""

    def __init__(self, frames: NDArray[np.float32], side: int) -> None:
        c, s = np.cos(_TURN), np.sin(_TURN)
        self.turn = torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]], dtype=torch.float32)
        places = torch.from_numpy(np.asarray(frames, np.float32)).flatten(0, 1) @ self.turn.mT
        low, high = places.amin(0), places.amax(0)
        self.middle = (low + high) / 2
        self.side = side
        self.scale = side * _SMOOTH / (_MARGIN * float((high - low)[:2].max()))

    def draw(
        self,
        vertices: NDArray[np.float32],
        faces: NDArray[np.int64],
        colours: NDArray[np.float64] | None = None,
    ) -> Image.Image:
        """Draw one mesh, in clay or in colours (V, 3) in [0, 1]."""
        size = self.side * _SMOOTH
        points = torch.from_numpy(np.asarray(vertices, np.float32)) @ self.turn.mT - self.middle
        screen = torch.stack(
            [size / 2 + self.scale * points[:, 0], size / 2 - self.scale * points[:, 1], _FAR - points[:, 2]],
            1,
        )
        triangles = torch.from_numpy(np.asarray(faces, np.int64))
        fragments = rasterize(screen[None], triangles, (size, size))
        normals = vertex_normals(points, triangles)
        lamp = torch.nn.functional.normalize(torch.tensor(_LAMP), dim=0)
        light = _AMBIENT + (1 - _AMBIENT) * (normals @ lamp).clamp(min=0)
        base = (
            torch.tensor(_CLAY).expand(len(points), 3)
            if colours is None
            else torch.from_numpy(colours).float()
        )
        shade = (
            light[:, None] if colours is None else 0.55 + 0.45 * light[:, None]
        )  # colours must stay legible
        picture: Tensor = interpolate(fragments, triangles, (base * shade)[None])[0]
        picture = torch.where(fragments.face_index[0][..., None] >= 0, picture.clamp(0, 1), torch.ones(3))
        return Image.fromarray((picture * 255).round().to(torch.uint8).numpy()).reduce(_SMOOTH)


def _coloured(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return colours (n, 3) in [0, 1] of values in [0, 1]; what is larger looks like 1."""
    stops = [stop for stop, _ in _RAMP]
    channels = [np.interp(values, stops, [colour[i] / 255 for _, colour in _RAMP]) for i in range(3)]
    return np.stack(channels, -1)
