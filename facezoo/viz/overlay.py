"""Draw faces on their picture: mesh, landmarks coloured by confidence, box, pose axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from facezoo.data.images import load_image
from facezoo.errors import unknown_name
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

# Everything is drawn on a layer this long at least and scaled down: smooth lines on small pictures too.
_CANVAS = 1600
_MOST_ZOOM = 4
_SURFACE = np.array([0.62, 0.78, 0.92])  # a cool grey: no skin has it
_SURFACE_ALPHA = 0.55
_WIRE = (16, 42, 67, 70)
_BOX = (255, 255, 255, 190)
_AXES = ((235, 87, 87), (89, 199, 120), (74, 144, 226))  # x to the subject's left, y up, z out of the face
# Confidence below the first is red, above the last green: 1 - σ with σ in crop sides, so 0.90 is off by a seventh of
# the face and 0.99 by a seventieth.
_RAMP = ((0.90, (229, 57, 53)), (0.96, (255, 202, 40)), (0.99, (38, 222, 129)))
_PLAIN = (255, 255, 255)  # landmarks without a confidence


def draw_faces(image: Any, faces: Sequence[Face], style: str = "mesh") -> Image.Image:
    """Draw faces on a picture.

    Args:
        image: the picture the faces were found in, in any form :func:`facezoo.data.images.load_image` reads.
        faces: what to draw.
        style: ``"mesh"`` (shaded surface, wire, landmarks, box, axes), ``"surface"``, ``"wire"``, ``"landmarks"`` or
            ``"all"`` (with dense landmarks). What a face does not have is left out.

    Returns:
        An RGB picture of the same size.
    """
    if style not in STYLES:
        raise unknown_name("overlay style", style, STYLES)
    pixels = load_image(image).pixels
    canvas = Image.fromarray(pixels)
    zoom = max(1, min(_MOST_ZOOM, round(_CANVAS / max(canvas.size))))
    for face in faces:
        window = _window(face, canvas.size)
        if window is None:
            continue
        layer = _draw_face(face, window, zoom, STYLES[style])
        layer = layer.resize((window[2] - window[0], window[3] - window[1]), Image.Resampling.BOX)
        canvas.paste(layer.convert("RGB"), window[:2], layer.getchannel("A"))
    return canvas


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
    for part, radius in (("dense", 0.8), ("landmarks", 1.7)):
        if part in parts:
            name = "dense" if part == "dense" else "ibug68"
            if name in face.landmarks:
                _draw_points(draw, local(face.landmarks[name]), face.confidence.get(name), radius * pen)
    if "axes" in parts and face.camera is not None:
        _draw_axes(draw, face, local, pen)
    return layer


def _draw_mesh(
    face: Face, local: Any, size: tuple[int, int], pen: float, parts: Sequence[str]
) -> Image.Image:
    head, camera = head_of(face), face.camera
    assert face.vertices is not None and camera is not None
    vertices = face.vertices.detach().float().cpu()
    faces = head.topology.faces.cpu()
    shown = _face_region(head, faces)
    screen = torch.cat([local(camera.project(vertices)), camera.to_camera(vertices)[:, 2:].float().cpu()], 1)
    fragments = rasterize(screen[None], faces, (size[1], size[0]))
    index = fragments.face_index[0]
    visible = (index >= 0) & shown[index.clamp(min=0)]
    layer = np.zeros((size[1], size[0], 4), np.float32)
    if "surface" in parts:
        normals = vertex_normals(vertices, faces) @ camera.R.float().cpu().mT
        pixel_normals = torch.nn.functional.normalize(interpolate(fragments, faces, normals[None])[0], dim=-1)
        # A lamp over the viewer's left shoulder, in OpenCV camera axes.
        lamp = torch.nn.functional.normalize(torch.tensor([-0.35, -0.55, -1.0]), dim=0)
        light = 0.35 + 0.65 * (pixel_normals @ lamp).clamp(min=0).numpy()
        layer[..., :3] = np.clip(light[..., None] * _SURFACE * 1.15, 0, 1)
        layer[..., 3] = visible.numpy() * _SURFACE_ALPHA
    picture = Image.fromarray((layer * 255).round().astype(np.uint8))
    if "wire" in parts:
        drawn = torch.unique(index[visible])
        corners = faces[drawn]
        lines = torch.unique(
            torch.sort(torch.cat([corners[:, :2], corners[:, 1:], corners[:, ::2]]), 1).values, dim=0
        )
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
    assert camera is not None
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
