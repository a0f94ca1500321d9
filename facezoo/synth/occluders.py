"""Things in front of a face: hands, cups, microphones, phones, paper, strands, blobs, captions, picture edges.

Each is drawn in two dimensions around a face box and returned as a layer (coverage, colour, contact shadow), so that
the same layer can cover the image and, thresholded, the segmentation. Masks, glasses and hats that follow the head's
surface are three-dimensional and live elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from facezoo.errors import InputError, unknown_name
from facezoo.synth import noise
from facezoo.synth.background import Colour, sample_background, skin_colour

Array = NDArray[np.floating]
Box = tuple[float, float, float, float]


_BYTE = np.float32(1 / 255)  # typed: bytes times a Python float would be float64


class Occlusion(NamedTuple):
    """A layer in front of the picture.

    Attributes:
        alpha: (H, W) coverage in [0, 1].
        colour: (H, W, 3) sRGB in [0, 1]; meaningful where alpha > 0.
        shadow: (H, W) share of light the object takes from what is behind it.
        kind: the name it was drawn as.
    """

    alpha: Array
    colour: Array
    shadow: Array
    kind: str


class _Canvas:
    """What a painter needs to know: the picture's size, the face box, the skin and the light's direction."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], box: Box, skin: Colour) -> None:
        self.rng, self.skin, self.box = rng, skin, box
        self.height, self.width = int(size[0]), int(size[1])
        self.centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        self.face = float(np.sqrt(max(box[2] - box[0], 1) * max(box[3] - box[1], 1)))
        light = np.array([rng.normal(0, 0.6), rng.normal(-0.4, 0.5), 1.0])
        self.light = (light / np.linalg.norm(light)).astype(np.float32)

    def on_face(self, u: float, v: float, spread: float = 0.1) -> NDArray[np.float64]:
        """Pixel near the box coordinates (u right, v down, 0–1)."""
        x0, y0, x1, y1 = self.box
        jitter = self.rng.normal(0, spread, 2) * self.face
        return np.array([x0 + u * (x1 - x0), y0 + v * (y1 - y0)]) + jitter

    def colour(self, low: float = 0.05, high: float = 1.0) -> Colour:
        grey, spread = self.rng.uniform(low, high), self.rng.random() ** 2
        r, g, b = np.clip((grey + (self.rng.random(3) - 0.5) * spread) * 255, 0, 255)
        return int(r), int(g), int(b)


Layer = tuple[Array, Array]
"""(alpha (H, W), colour (H, W, 3))."""


def _capsules(
    canvas: _Canvas, parts: list[tuple[NDArray, NDArray, float, float, float]], tone: Colour
) -> Layer:
    """Shade rounded limbs given as (start, end, radius at start, radius at end, height above the picture)."""
    joints = np.array([(*p, max(r0, r1) + 2) for a, b, r0, r1, _ in parts for p in (a, b)])
    low = np.maximum(np.floor((joints[:, :2] - joints[:, 2:]).min(0)), 0).astype(int)
    high = np.minimum(np.ceil((joints[:, :2] + joints[:, 2:]).max(0)), (canvas.width, canvas.height)).astype(
        int
    )
    full = (
        np.zeros((canvas.height, canvas.width), np.float32),
        np.zeros((canvas.height, canvas.width, 3), np.float32),
    )
    w, h = np.maximum(high - low, 0)
    if min(w, h) < 2:
        return full
    height = np.zeros((h, w), np.float32)
    alpha = np.zeros((h, w), np.float32)
    rim = np.ones((h, w), np.float32)
    for start, end, r0, r1, lift in parts:
        start, end = start - low, end - low
        reach = max(r0, r1) + 1
        x0, y0 = np.maximum(np.floor(np.minimum(start, end) - reach), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(np.maximum(start, end) + reach), (w, h)).astype(int)
        if x1 <= x0 or y1 <= y0:
            continue
        x = np.arange(x0, x1, dtype=np.float32)[None] + np.float32(0.5 - start[0])
        y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5 - start[1])
        dx, dy = (end - start).astype(np.float32)
        t = np.clip((x * dx + y * dy) / max(float(dx * dx + dy * dy), 1e-6), 0, 1)
        distance = np.hypot(x - t * dx, y - t * dy)
        radius = np.float32(r0) + t * np.float32(r1 - r0)
        dome = np.sqrt(np.maximum(1 - (distance / radius) ** 2, 0))
        top = dome * radius + np.float32(lift)
        window = (slice(y0, y1), slice(x0, x1))
        front = (top > height[window]) & (distance < radius)
        height[window] = np.where(front, top, height[window])
        rim[window] = np.where(front, dome, rim[window])
        alpha[window] = np.maximum(alpha[window], np.clip(radius - distance + 0.5, 0, 1))
    gy, gx = np.gradient(height)
    lx, ly, lz = canvas.light
    # Slopes at the rim are infinite; halving them keeps the limb from being outlined in black.
    gx, gy = np.clip(gx, -2, 2) * 0.5, np.clip(gy, -2, 2) * 0.5
    lambert = (lz - gx * lx - gy * ly) / np.sqrt(1 + gx * gx + gy * gy)
    shade = 0.35 + 0.75 * np.maximum(lambert, 0)
    shade *= 0.7 + 0.3 * np.sqrt(rim)
    mottle = noise.crop(canvas.rng, "fbm", (h, w), 0.7)
    shade *= 0.9 + 0.2 * mottle
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    full[0][window] = alpha
    full[1][window] = np.stack([np.clip(shade * np.float32(c / 255), 0, 1) for c in tone], -1)
    return full


def _hand(canvas: _Canvas) -> Layer:
    """Palm, fingers, thumb and forearm: in front of the mouth, at a cheek, the chin, the brow or an eye."""
    rng = canvas.rng
    spots = [
        (0.5, 0.85),
        (0.15, 0.7),
        (0.85, 0.7),
        (0.5, 1.1),
        (0.1, 0.15),
        (0.9, 0.15),
        (0.5, 0.0),
        (0.2, 0.35),
        (0.8, 0.35),
    ]
    palm = canvas.on_face(*spots[int(rng.random() * len(spots))])
    scale = canvas.face * rng.uniform(0.28, 0.5)  # half a hand's length: hands are about as long as faces
    out = palm - canvas.centre + rng.normal(0, 0.3, 2) * canvas.face + np.array([0, 0.3]) * canvas.face
    away = np.arctan2(out[1], out[0])  # the forearm leaves the face
    along = away + np.pi + rng.normal(0, 0.5)
    direction = np.array([np.cos(along), np.sin(along)])
    side = np.array([-direction[1], direction[0]]) * (1 if rng.random() < 0.5 else -1)
    thick = scale * rng.uniform(0.13, 0.19)
    parts = [
        (palm - direction * scale * 0.5, palm - np.array([np.cos(away + np.pi), np.sin(away + np.pi)]) * scale * 6,
         scale * 0.36, scale * 0.6, 0.0),
        (palm - direction * scale * 0.45, palm + direction * scale * 0.3, scale * 0.42, scale * 0.45, 0.0),
    ]  # fmt: skip
    curl = rng.uniform(0.35, 1.0)
    spread = rng.uniform(0.02, 0.25)
    shown = int(rng.choice([1, 2, 4, 4, 4, 4]))
    for i in range(4):
        root = palm + direction * scale * 0.42 + side * scale * 0.24 * (i - 1.5)
        length = scale * (0.95, 1.05, 1.0, 0.78)[i] * curl * (1 if i < shown else 0.35)
        turn = along + (i - 1.5) * spread * (
            1 if side @ np.array([-np.sin(along), np.cos(along)]) > 0 else -1
        )
        bone = np.array([np.cos(turn), np.sin(turn)])
        bend = turn + rng.normal(0, 0.25)
        middle = root + bone * length * 0.5
        tip = middle + np.array([np.cos(bend), np.sin(bend)]) * length * 0.5
        parts += [
            (root, middle, thick, thick * 0.95, 1.0 + i * 0.3),
            (middle, tip, thick * 0.95, thick * 0.75, 1.0 + i * 0.3),
        ]
    root = palm - side * scale * 0.3 - direction * scale * 0.2
    handed = np.sign(direction[0] * side[1] - direction[1] * side[0])
    thumb = along - handed * rng.uniform(0.3, 1.2)
    tip = root + np.array([np.cos(thumb), np.sin(thumb)]) * scale * 0.75
    parts.append((root, tip, thick * 1.25, thick * 0.9, 2.0))
    return _capsules(canvas, parts, canvas.skin)


def _arm(canvas: _Canvas) -> Layer:
    """A bare or sleeved arm across the picture."""
    rng = canvas.rng
    angle = rng.uniform(0, np.pi)
    middle = canvas.on_face(*rng.choice([(0.5, 1.15), (0.0, 0.5), (1.0, 0.5), (0.5, -0.1), (0.5, 0.95)]))
    direction = np.array([np.cos(angle), np.sin(angle)]) * canvas.face * 3
    thick = canvas.face * rng.uniform(0.1, 0.28)
    tone = canvas.skin if rng.random() < 0.5 else canvas.colour()
    bend = middle + rng.normal(0, 0.15, 2) * canvas.face
    return _capsules(
        canvas,
        [(middle - direction, bend, thick, thick, 0), (bend, middle + direction, thick, thick * 0.8, 0)],
        tone,
    )


def _place(canvas: _Canvas, sprite: Image.Image, middle: NDArray, angle: float, scale: float) -> Layer:
    """Turn an RGBA sprite by ``angle`` (radians, clockwise), scale it and put its centre at ``middle``."""
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    x, y = middle
    grid = (c, s, sprite.width / 2 - c * x - s * y, -s, c, sprite.height / 2 + s * x - c * y)
    placed = sprite.transform(
        (canvas.width, canvas.height), Image.Transform.AFFINE, grid, Image.Resampling.BILINEAR
    )
    pixels = np.asarray(placed)
    # Outside the sprite Pillow fills in black and clear; alpha keeps it out of sight.
    return pixels[..., 3] * _BYTE, pixels[..., :3] * _BYTE


def _sprite(
    rng: np.random.Generator, size: tuple[int, int], tone: Colour
) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A clear sprite whose hidden colour is the object's own, so that soft edges do not darken."""
    sprite = Image.new("RGBA", size, (*tone, 0))
    return sprite, ImageDraw.Draw(sprite)


def _round(canvas: _Canvas, sprite: Image.Image, amount: float) -> Image.Image:
    """Shade a sprite from left to right as an upright cylinder."""
    x = np.linspace(-1, 1, sprite.width)
    lx = float(canvas.light[0])
    shade = 1 - amount + amount * np.maximum(np.sqrt(1 - x * x * 0.96) * 0.9 + x * lx * 0.8, 0.1)
    pixels = np.asarray(sprite).astype(np.float32)
    pixels[..., :3] *= shade[None, :, None].astype(np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _decorate(rng: np.random.Generator, sprite: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Print a small random picture on a sprite."""
    x0, y0, x1, y1 = box
    if x1 - x0 > 3 and y1 - y0 > 3:
        print_ = (sample_background(rng, (y1 - y0, x1 - x0), blur=0.0) * 255).astype(np.uint8)
        sprite.paste(Image.fromarray(print_), (x0, y0))


def _cup(canvas: _Canvas) -> Layer:
    """A mug, glass, paper cup or bottle at the mouth, with fingers around it."""
    rng, tone = canvas.rng, canvas.colour()
    w, h = 64, int(rng.uniform(64, 120))
    sprite, draw = _sprite(rng, (w + 32, h + 16), tone)
    taper = rng.uniform(-4, 12)
    opaque = 255 if rng.random() < 0.8 else int(rng.uniform(90, 190))
    draw.polygon([(8, 12), (w, 12), (w - taper, h), (8 + taper, h)], fill=(*tone, opaque))
    if rng.random() < 0.5:
        draw.arc((w - 12, 24, w + 20, h * 0.75), -90, 90, fill=(*tone, 255), width=8)
    if rng.random() < 0.6:
        _decorate(rng, sprite, (14, int(h * 0.35), w - 6, int(h * 0.75)))
    sprite = _round(canvas, sprite, 0.6)
    ImageDraw.Draw(sprite).ellipse(
        (8, 4, w, 20), fill=(*canvas.colour(), opaque), outline=(*tone, 255), width=2
    )
    scale = canvas.face * rng.uniform(0.35, 0.65) / 64
    middle = canvas.on_face(0.5, 0.95, 0.08) + np.array([0, 20 * scale])
    alpha, colour = _place(canvas, sprite, middle, rng.normal(0, 0.3), scale)
    if rng.random() < 0.6:
        sign = 1 if rng.random() < 0.5 else -1
        thick = canvas.face * 0.06
        fingers = []
        for i in range(4):
            at = middle + np.array([sign * 24, -14 + i * 13.0]) * scale
            fingers.append((at, at - np.array([sign * 34 * scale, 0]), thick, thick * 0.9, float(i)))
        root = middle + np.array([sign * 36, 8]) * scale
        fingers.append((root, root + np.array([sign * 60, 90]) * scale, thick * 3, thick * 3.5, 0.0))
        return _over(_capsules(canvas, fingers, canvas.skin), (alpha, colour))
    return alpha, colour


def _over(front: Layer, back: Layer) -> Layer:
    """Composite two layers."""
    alpha = front[0] + back[0] * (1 - front[0])
    share = (front[0] / np.maximum(alpha, np.float32(1e-6)))[..., None]
    return alpha, back[1] + (front[1] - back[1]) * share


def _microphone(canvas: _Canvas) -> Layer:
    rng, tone = canvas.rng, canvas.colour(0.0, 0.5)
    head = canvas.face * rng.uniform(0.08, 0.19)
    tip = canvas.on_face(rng.uniform(0.2, 0.8), 0.95, 0.08)
    angle = rng.normal(np.pi / 2, 0.6)
    end = tip + np.array([np.cos(angle), np.sin(angle)]) * canvas.face * 1.8
    body = _capsules(canvas, [(tip, end, head * 0.55, head * 0.4, 0)], tone)
    foam = canvas.colour(0.0, 0.9)
    ball = _capsules(canvas, [(tip, tip + (end - tip) * 0.06, head, head, 0)], foam)
    if rng.random() < 0.6:  # wire mesh
        x, y = (
            np.arange(canvas.width, dtype=np.float32)[None],
            np.arange(canvas.height, dtype=np.float32)[:, None],
        )
        pitch = np.float32(max(2.2, head * 0.25))
        wire = ((x + y) % pitch < 1) | ((x - y) % pitch < 1)
        ball = (ball[0], ball[1] * np.where(wire, 1.3, 0.7).astype(np.float32)[..., None])
    return _over((ball[0], np.minimum(ball[1], 1)), body)


def _phone(canvas: _Canvas) -> Layer:
    """A telephone at the ear, or held in front of the face to take a picture."""
    rng, tone = canvas.rng, canvas.colour(0.0, 0.95)
    sprite, draw = _sprite(rng, (76, 140), tone)
    draw.rounded_rectangle((6, 6, 70, 134), rng.uniform(2, 14), fill=(*tone, 255))
    if rng.random() < 0.5:
        _decorate(rng, sprite, (12, 16, 64, 122))
    for i in range(int(rng.integers(0, 4))):
        draw.ellipse((14, 14 + 14 * i, 24, 24 + 14 * i), fill=(10, 10, 14, 255), outline=(90, 90, 95, 255))
    scale = canvas.face * rng.uniform(0.4, 0.6) / 64
    side = -1 if rng.random() < 0.5 else 1
    if rng.random() < 0.6:
        middle, angle = canvas.on_face(0.5 + 0.55 * side, 0.55, 0.07), side * rng.normal(-0.2, 0.25)
    else:
        middle, angle = (
            canvas.on_face(rng.random(), rng.uniform(0.2, 1.1)),
            rng.choice([0, np.pi / 2]) + rng.normal(0, 0.15),
        )
    back = _place(canvas, sprite, middle, float(angle), scale * rng.uniform(0.6, 1))
    if rng.random() < 0.5:
        return back
    thick = canvas.face * 0.06
    fingers = []
    for i in range(4):
        at = middle + np.array([side * 34, -20 + i * 15.0]) * scale
        fingers.append(
            (
                at,
                at - np.array([side * rng.uniform(25, 45) * scale, rng.normal(0, 5) * scale]),
                thick,
                thick * 0.85,
                float(i),
            )
        )
    wrist = middle + np.array([side * 40, 30]) * scale
    fingers.append((wrist, wrist + np.array([side * 40, 120]) * scale, thick * 3, thick * 4, 0.0))
    return _over(_capsules(canvas, fingers, canvas.skin), back)


def _paper(canvas: _Canvas) -> Layer:
    """A book, card, placard or box with a picture on it."""
    rng, tone = canvas.rng, canvas.colour(0.5, 1)
    w, h = int(rng.uniform(40, 128)), int(rng.uniform(30, 110))
    sprite, draw = _sprite(rng, (w + 8, h + 8), tone)
    draw.rectangle((4, 4, w + 3, h + 3), fill=(*tone, 255))
    edge = int(rng.uniform(0, 8))
    if rng.random() < 0.75:
        _decorate(rng, sprite, (4 + edge, 4 + edge, w + 4 - edge, h + 4 - edge))
    spots = [(0.5, 1.05), (0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 0.85), (0.1, 0.9), (0.9, 0.9)]
    middle = canvas.on_face(*spots[int(rng.random() * len(spots))], 0.12)
    return _place(canvas, sprite, middle, rng.normal(0, 0.4), canvas.face * rng.uniform(0.3, 0.75) / 80)


def _patch(canvas: _Canvas) -> Layer:
    """A random polygon or ellipse with a random picture inside."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    mask = Image.new("L", (w, h))
    draw = ImageDraw.Draw(mask)
    middle = canvas.on_face(rng.random(), rng.random(), 0.2)
    radius = canvas.face * rng.uniform(0.1, 0.4)
    if rng.random() < 0.5:
        rx, ry = radius * rng.uniform(0.5, 1.3, 2)
        draw.ellipse((middle[0] - rx, middle[1] - ry, middle[0] + rx, middle[1] + ry), fill=255)
    else:
        count = int(rng.integers(3, 9))
        turn = np.sort(rng.uniform(0, 2 * np.pi, count))
        reach = radius * rng.uniform(0.5, 1.4, count)
        corners = np.stack([middle[0] + reach * np.cos(turn), middle[1] + reach * np.sin(turn)], -1)
        draw.polygon([tuple(c) for c in corners.tolist()], fill=255)
    alpha = np.asarray(mask.filter(ImageFilter.BoxBlur(0.7))) * _BYTE
    colour = np.zeros((h, w, 3), np.float32)
    x0, y0, x1, y1 = mask.getbbox() or (0, 0, 1, 1)
    # One pixel more on each side for the softened edge.
    rows, columns = slice(max(y0 - 1, 0), y1 + 1), slice(max(x0 - 1, 0), x1 + 1)
    colour[rows, columns] = sample_background(rng, colour[rows, columns].shape[:2])
    return alpha, colour


def _foreground(canvas: _Canvas) -> Layer:
    """Something large and out of focus that enters from a side: a shoulder, a leaf, a door frame."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    side = rng.uniform(0, 2 * np.pi)
    out = np.array([np.cos(side), np.sin(side)])
    middle = canvas.centre + out * canvas.face * rng.uniform(0.55, 1.1)
    small = (max(8, w // 2), max(8, h // 2))
    mask = Image.new("L", small)
    draw = ImageDraw.Draw(mask)
    for _ in range(int(rng.integers(1, 5))):
        x, y = (middle + rng.normal(0, 0.15, 2) * canvas.face) / 2
        rx, ry = canvas.face * rng.uniform(0.1, 0.4, 2) / 2
        draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=255)
    mask = mask.filter(
        ImageFilter.BoxBlur(small[0] * float(np.exp(rng.uniform(np.log(0.005), np.log(0.06)))))
    )
    alpha = np.asarray(mask.resize((w, h), Image.Resampling.BILINEAR)) * np.float32(
        rng.uniform(0.75, 1) / 255
    )
    if rng.random() < 0.5:
        tone = np.array(canvas.skin if rng.random() < 0.3 else canvas.colour(), np.float32) / 255
        shade = 0.6 + 0.4 * noise.crop(rng, "fbm", (h, w), 2)
        return alpha, np.stack([shade * c for c in tone], -1)
    return alpha, sample_background(rng, (h, w), blur=0.03)


def _strands(canvas: _Canvas) -> Layer:
    """Flyaway hair, wires, twigs, bars: thin curves across the face."""
    rng = canvas.rng
    w, h = canvas.width, canvas.height
    mask = Image.new("L", (2 * w, 2 * h))
    draw = ImageDraw.Draw(mask)
    count = int(np.exp(rng.uniform(0, np.log(25))))
    wide = 2 * canvas.face * float(np.exp(rng.uniform(np.log(0.004), np.log(0.08 if count < 6 else 0.012))))
    start = canvas.on_face(rng.random(), rng.uniform(-0.2, 0.6), 0.2)
    angle, bend = rng.uniform(0, np.pi), rng.normal(0, 0.6)
    t = np.linspace(-1.6, 1.6, 14)
    for _ in range(count):
        a = angle + rng.normal(0, 0.15)
        curve = (bend + rng.normal(0, 0.15)) * t * t * canvas.face * 0.5
        x = start[0] + np.cos(a) * t * canvas.face - np.sin(a) * curve
        y = start[1] + np.sin(a) * t * canvas.face + np.cos(a) * curve
        draw.line(
            [tuple(p) for p in (2 * np.stack([x, y], -1)).tolist()],
            fill=int(rng.uniform(150, 255)),
            width=max(1, round(wide)),
            joint="curve",
        )
        start = start + rng.normal(0, 0.05, 2) * canvas.face
    alpha = np.asarray(mask.reduce(2)) * _BYTE
    tone = np.array(canvas.colour(0, 0.6), np.float32) / 255
    shade = 0.5 + 0.8 * noise.crop(rng, "rough", (h, w), 1)
    return alpha, np.minimum(np.stack([shade * c for c in tone], -1), 1)


def _veil(canvas: _Canvas) -> Layer:
    """Smoke, a reflection on glass, flare, rain on a window: partly transparent."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    kind = ("fbm", "ridged", "billow", "smooth", "spots")[int(rng.random() * 5)]
    field = noise.crop(rng, kind, (h, w), float(rng.uniform(0.7, 3)))
    alpha = np.clip(
        field * rng.uniform(0.7, 1.5) - rng.uniform(0.2, 0.7),
        0,
        rng.uniform(0.2, 0.6),
    )
    tone = np.array(canvas.colour(0.5, 1) if rng.random() < 0.8 else canvas.colour(), np.float32) / 255
    return alpha, np.broadcast_to(tone, (h, w, 3)).copy()


def _caption(canvas: _Canvas) -> Layer:
    """Letters over the picture: a watermark, a subtitle, a channel's logo."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    text = "".join(chr(int(c)) for c in rng.integers(65, 123, int(rng.integers(4, 22))) if c < 91 or c > 96)
    mask = Image.new("L", (w, h))
    pixels = max(6, int(h * rng.uniform(0.05, 0.14)))
    place = (
        float(rng.uniform(-0.1, 0.4) * w),
        float(rng.choice([rng.uniform(0, 0.1), rng.uniform(0.75, 0.95), rng.random()]) * h),
    )
    # Pillow's built-in face at a size; the same for every installation.
    ImageDraw.Draw(mask).text(place, text, fill=int(rng.uniform(90, 255)), font_size=pixels)
    if rng.random() < 0.25:
        mask = mask.rotate(float(rng.uniform(-45, 45)), Image.Resampling.BILINEAR)
    tone = np.array(canvas.colour(0.7, 1) if rng.random() < 0.7 else canvas.colour(), np.float32) / 255
    return np.asarray(mask) * _BYTE, np.broadcast_to(tone, (h, w, 3)).copy()


def _edge(canvas: _Canvas) -> Layer:
    """The picture ends: a straight, flat-coloured border on one or two sides, as in crops beyond a photograph."""
    rng = canvas.rng
    h, w = canvas.height, canvas.width
    alpha = np.zeros((h, w), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        depth = rng.uniform(0.02, 0.25)
        side = rng.integers(4)
        rows, columns = max(1, int(h * depth)), max(1, int(w * depth))
        alpha[(slice(rows), slice(-rows, None), slice(None), slice(None))[side],
              (slice(None), slice(None), slice(columns), slice(-columns, None))[side]] = 1  # fmt: skip
    tone = (0, 0, 0) if rng.random() < 0.6 else canvas.colour()
    return alpha, np.full((h, w, 3), np.array(tone, np.float32) / 255, np.float32)


_PAINTERS: dict[str, tuple[Callable[[_Canvas], Layer], float, float]] = {
    # name: painter, chance, contact shadow
    "hand": (_hand, 3.0, 0.5), "arm": (_arm, 0.8, 0.4), "cup": (_cup, 1.0, 0.3), "microphone": (_microphone, 1.2, 0.3),
    "phone": (_phone, 1.2, 0.3), "paper": (_paper, 0.9, 0.3), "patch": (_patch, 1.2, 0.0),
    "foreground": (_foreground, 1.0, 0.0), "strands": (_strands, 1.2, 0.2), "veil": (_veil, 0.6, 0.0),
    "caption": (_caption, 0.6, 0.0), "edge": (_edge, 0.8, 0.0),
}  # fmt: skip
KINDS = tuple(_PAINTERS)
_CHANCE = np.array([chance for _, chance, _ in _PAINTERS.values()])
_CHANCE = _CHANCE / _CHANCE.sum()


def sample_occluder(
    rng: np.random.Generator,
    size: tuple[int, int],
    box: Box,
    kind: str | None = None,
    *,
    skin: Colour | None = None,
    light: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Occlusion:
    """Draw one thing in front of a face.

    Args:
        rng: the only source of randomness.
        size: (height, width) of the picture.
        box: the face, (x0, y0, x1, y1) pixels; may reach beyond the picture.
        kind: one of ``KINDS``; None draws one.
        skin: sRGB bytes of the hands' skin; None draws another person's.
        light: gain a channel, so that the object sits in the scene's light.

    Returns:
        The layer; composite it with :func:`composite`.

    Raises:
        InputError: an empty size or box.
        UnknownNameError: ``kind`` is not in ``KINDS``.
    """
    if min(size) < 8 or not (box[2] > box[0] and box[3] > box[1]):
        raise InputError(
            f"need a size of at least 8 and a box with x0 < x1, y0 < y1; got {size!r} and {box!r}."
        )
    if kind is not None and kind not in _PAINTERS:
        raise unknown_name("occluder", kind, KINDS)
    name = kind or KINDS[int(rng.choice(len(KINDS), p=_CHANCE))]
    painter, _, contact = _PAINTERS[name]
    canvas = _Canvas(rng, size, box, skin or skin_colour(rng))
    alpha, colour = painter(canvas)
    if light != (1.0, 1.0, 1.0):
        colour = np.clip(colour * np.array(light, np.float32), 0, 1)
    return Occlusion(alpha, colour, _shadow(canvas, alpha, contact), name)


def _shadow(canvas: _Canvas, alpha: Array, strength: float) -> Array:
    """The coverage itself, moved away from the light, blurred and weakened."""
    h, w = alpha.shape
    if strength == 0:
        return np.zeros((h, w), np.float32)
    shift = canvas.light[:2] * np.float32(-0.1 * canvas.face / 4)
    coarse = Image.fromarray((alpha[::4, ::4] * np.float32(255 * strength)).astype(np.uint8))
    grid = (1, 0, -float(shift[0]), 0, 1, -float(shift[1]))
    coarse = coarse.transform(coarse.size, Image.Transform.AFFINE, grid, Image.Resampling.BILINEAR)
    coarse = coarse.filter(ImageFilter.BoxBlur(max(0.5, 0.03 * canvas.face / 4)))
    return np.asarray(coarse.resize((w, h), Image.Resampling.BILINEAR)) * _BYTE


def composite(image: NDArray[np.floating], layer: Occlusion) -> Array:
    """Put an occlusion, with its contact shadow, over a picture.

    Args:
        image: (H, W, 3) sRGB in [0, 1].
        layer: of the same size.

    Returns:
        (H, W, 3).
    """
    behind = 1 - layer.alpha
    out = np.empty(image.shape, np.float32)
    lit = behind * (1 - layer.shadow)
    for c in range(3):
        out[..., c] = image[..., c] * lit + layer.colour[..., c] * layer.alpha
    return out
