"""Draw faces on their picture: mesh, landmarks coloured by confidence, box, pose axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from facezoo.data.images import load_image
from facezoo.errors import InputError, unknown_name
from facezoo.mesh.normals import vertex_normals
from facezoo.render import interpolate, rasterize
from facezoo.viz.mesh import head_of

if TYPE_CHECKING:
    from facezoo.types import Face

# style -> what is drawn, in this order
STYLES = {
    "mesh": ("surface", "wire", "landmarks", "box", "axes"),
    "surface": ("surface",),
    "wire": ("wire",),
    "landmarks": ("landmarks", "box"),
    "all": ("surface", "wire", "dense", "landmarks", "box", "axes"),
}

# Unless told otherwise a small picture is enlarged until its smallest face is this wide, but not beyond
# this side nor more than this many times.
_LEGIBLE, _LARGEST, _MOST = 320, 1600, 4
_SMOOTH = 2  # everything is drawn this much larger and scaled down: smooth lines
_SURFACE = (0.71, 0.90, 1.06)  # a cool grey: no skin has it
_LAMP = (-0.35, -0.55, -1.0)  # over the viewer's left shoulder, towards the light, OpenCV camera axes
_AMBIENT = 0.35
_SURFACE_ALPHA = 0.5
_WIRE = (255, 255, 255, 60)
_BOX = (255, 255, 255, 190)
_AXES = ((235, 87, 87), (89, 199, 120), (74, 144, 226))  # x to the subject's left, y up, z out of the face
# Confidence below the first is red, above the last green: 1 - σ with σ in crop sides, so 0.90 is off by a seventh of
# the face and 0.99 by a seventieth.
_RAMP = ((0.90, (229, 57, 53)), (0.96, (255, 202, 40)), (0.99, (38, 222, 129)))
_PLAIN = (255, 255, 255)  # landmarks without a confidence


def draw_faces(
    image: Any, faces: Sequence[Face], style: str = "mesh", scale: int | None = None
) -> Image.Image:
    """Draw faces on a picture.

    Args:
        image: the picture the faces were found in, in any form :func:`facezoo.data.images.load_image` reads.
        faces: what to draw.
        style: ``"mesh"`` (shaded surface, wire, landmarks, box, axes), ``"surface"``, ``"wire"``, ``"landmarks"`` or
            ``"all"`` (with dense landmarks). What a face does not have is left out.
        scale: how many times larger the drawing is than the picture; by default small pictures are enlarged until
            their faces are legible.

    Returns:
        An RGB picture, ``scale`` times the size.
    """
    if style not in STYLES:
        raise unknown_name("overlay style", style, STYLES)
    canvas = Image.fromarray(load_image(image).pixels)
    size = canvas.size
    scale = _legible_scale(faces, size) if scale is None else scale
    if scale > 1:
        canvas = canvas.resize((size[0] * scale, size[1] * scale), Image.Resampling.BICUBIC)
    for face in faces:
        window = _window(face, size)
        if window is None:
            continue
        layer = _draw_face(face, window, scale * _SMOOTH, STYLES[style]).reduce(_SMOOTH)
        canvas.paste(layer.convert("RGB"), (window[0] * scale, window[1] * scale), layer.getchannel("A"))
    return canvas


def _legible_scale(faces: Sequence[Face], size: tuple[int, int]) -> int:
    if not faces:
        return 1
    smallest = min(float((face.box[2:] - face.box[:2]).max()) for face in faces)
    return max(1, min(round(_LEGIBLE / max(smallest, 1)), _LARGEST // max(size), _MOST))


def _draw_face(face: Face, window: tuple[int, int, int, int], zoom: int, parts: Sequence[str]) -> Image.Image:
    """Draw one face on a transparent layer of its window, enlarged ``zoom`` times."""
    origin = torch.tensor([float(window[0]), float(window[1])])
    size = ((window[2] - window[0]) * zoom, (window[3] - window[1]) * zoom)

    def local(points: Tensor) -> Tensor:
        return (points.detach().float().cpu() - origin) * zoom

    # Line widths follow the face, not the picture.
    extent = float((face.box[2:] - face.box[:2]).max()) * zoom
    pen = max(1.0, extent / 220)
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    if face.vertices is not None and face.camera is not None and {"surface", "wire"} & set(parts):
        layer = _draw_mesh(face, local, size, pen, parts)
    draw = ImageDraw.Draw(layer, "RGBA")
    if "box" in parts:
        draw.rectangle(local(face.box.reshape(2, 2)).flatten().tolist(), outline=_BOX, width=round(pen))
    for part, radius in (("dense", 0.9), ("landmarks", 2.2)):
        if part in parts:
            name = "dense" if part == "dense" else "ibug68"
            if name in face.landmarks:
                _draw_points(draw, local(face.landmarks[name]), face.confidence.get(name), radius * pen)
    if "axes" in parts:
        _draw_axes(draw, face, local, pen)
    return layer


def _draw_mesh(
    face: Face, local: Any, size: tuple[int, int], pen: float, parts: Sequence[str]
) -> Image.Image:
    head, camera = head_of(face), face.camera
    if face.vertices is None or camera is None:
        raise InputError("this face has no mesh to draw.")
    vertices, faces = face.vertices.detach().float().cpu(), head.topology.faces.cpu()
    screen = torch.cat([local(camera.project(vertices)), camera.to_camera(vertices)[:, 2:].float().cpu()], 1)
    # The surface is soft and needs no smoothing: rasterised at the final resolution, over its own bounds only.
    low = (screen[:, :2].amin(0) / _SMOOTH).floor().clamp(min=0)
    high = torch.minimum((screen[:, :2].amax(0) / _SMOOTH).ceil(), torch.tensor(size) / _SMOOTH)
    columns, rows = (int(n) for n in (high - low).tolist())
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    if columns < 1 or rows < 1:
        return picture
    shift = torch.cat([low, torch.zeros(1)])
    fragments = rasterize(
        (screen / torch.tensor([_SMOOTH, _SMOOTH, 1.0]) - shift)[None], faces, (rows, columns)
    )
    index = fragments.face_index[0]
    visible = (index >= 0) & _face_region(head, faces)[index.clamp(min=0)]
    if "surface" in parts:
        normals = vertex_normals(vertices, faces) @ camera.R.float().cpu().mT
        lamp = torch.nn.functional.normalize(torch.tensor(_LAMP), dim=0)
        light = _AMBIENT + (1 - _AMBIENT) * (normals @ lamp).clamp(min=0)
        shade = interpolate(fragments, faces, light[None, :, None])[0]
        colour = (shade * torch.tensor(_SURFACE)).clamp(0, 1) * 255
        layer = torch.cat([colour, visible[..., None] * (255 * _SURFACE_ALPHA)], -1).round().to(torch.uint8)
        surface = Image.fromarray(layer.numpy())
        surface = surface.resize((columns * _SMOOTH, rows * _SMOOTH), Image.Resampling.BILINEAR)
        picture.paste(surface, (int(low[0]) * _SMOOTH, int(low[1]) * _SMOOTH))
    if "wire" in parts:
        corners = faces[torch.unique(index[visible])]
        lines = torch.cat([corners[:, :2], corners[:, 1:], corners[:, ::2]]).sort(1).values.unique(dim=0)
        over = Image.new("RGBA", size, (0, 0, 0, 0))
        draw = ImageDraw.Draw(over, "RGBA")
        for x0, y0, x1, y1 in screen[lines][..., :2].flatten(1).tolist():
            draw.line((x0, y0, x1, y1), fill=_WIRE, width=max(1, round(pen / 3)))
        picture = Image.alpha_composite(picture, over)
    return picture


def _face_region(head: Any, faces: Tensor) -> Tensor:
    """Choose the triangles (F,) to show: the densest landmark subset's surface, or all of a head without one."""
    subset = head.topology.subsets.get(1609)
    if subset is None:
        return torch.ones(len(faces), dtype=torch.bool)
    member = torch.zeros(head.n_vertices, dtype=torch.bool)
    member[subset.cpu()] = True
    return member[faces].all(1)


def _draw_points(draw: ImageDraw.ImageDraw, points: Tensor, confidence: Tensor | None, radius: float) -> None:
    sure = [None] * len(points) if confidence is None else confidence.tolist()
    for (x, y), value in zip(points.tolist(), sure, strict=True):
        box = (x - radius, y - radius, x + radius, y + radius)
        colour = _PLAIN if value is None else confidence_colour(value)
        draw.ellipse(box, fill=(*colour, 255), outline=(20, 20, 20, 160), width=max(1, round(radius / 4)))


def confidence_colour(value: float) -> tuple[int, int, int]:
    """Return the colour of a confidence in [0, 1]: red, amber, green."""
    levels = [level for level, _ in _RAMP]
    red, green, blue = (float(np.interp(value, levels, [colour[k] for _, colour in _RAMP])) for k in range(3))
    return round(red), round(green), round(blue)


def _draw_axes(draw: ImageDraw.ImageDraw, face: Face, local: Any, pen: float) -> None:
    """Draw the head's axes from between the eyes, as long as half the face is wide."""
    camera = face.camera
    if camera is None:
        return
    start = (
        face.landmarks["ibug68"][27].float().cpu()
        if "ibug68" in face.landmarks
        else face.box.reshape(2, 2).mean(0)
    )
    length = float((face.box[2:] - face.box[:2]).prod().sqrt()) / 2
    order = sorted(range(3), key=lambda axis: -float(camera.R[2, axis]))  # what points away is drawn first
    a = local(start[None])[0].tolist()
    for axis in order:
        tip = start + camera.R[:2, axis].float().cpu() * length
        b = local(tip[None])[0].tolist()
        draw.line((*a, *b), fill=(*_AXES[axis], 235), width=max(2, round(1.6 * pen)))


def _window(face: Face, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return the whole pixels that a face's drawing may touch, or None if that is outside the picture."""
    width, height = size
    parts = [face.box.reshape(2, 2).detach().float().cpu()]
    parts += [points.detach().float().cpu() for points in face.landmarks.values()]
    if face.vertices is not None and face.camera is not None:
        parts.append(face.camera.project(face.vertices).detach().float().cpu())
    points = torch.cat(parts)
    points = points[torch.isfinite(points).all(1)]
    margin = 0.6 * float((face.box[2:] - face.box[:2]).max()) + 4  # the axes reach out of the box
    low, high = (points.amin(0) - margin).floor().tolist(), (points.amax(0) + margin).ceil().tolist()
    x0, y0, x1, y1 = (
        max(0, int(low[0])),
        max(0, int(low[1])),
        min(width, int(high[0])),
        min(height, int(high[1])),
    )
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
