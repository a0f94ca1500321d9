"""Draw one occluder with its contact shadow, and put it over a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from facezoo.errors import InputError, unknown_name
from facezoo.synth.background import Colour, skin_colour
from facezoo.synth.occluders.borders import draw_caption, draw_edge
from facezoo.synth.occluders.canvas import BYTE, Array, Box, Canvas, Layer
from facezoo.synth.occluders.cover import draw_foreground, draw_patch, draw_strands, draw_veil
from facezoo.synth.occluders.limbs import draw_arm, draw_hand
from facezoo.synth.occluders.objects import draw_cup, draw_microphone, draw_paper, draw_phone

_PAINTERS: dict[str, tuple[Callable[[Canvas], Layer], float, float]] = {
    # name: painter, chance, contact shadow
    "hand": (draw_hand, 3.0, 0.5), "arm": (draw_arm, 0.8, 0.4), "cup": (draw_cup, 1.0, 0.3),
    "microphone": (draw_microphone, 1.2, 0.3), "phone": (draw_phone, 1.2, 0.3),
    "paper": (draw_paper, 0.9, 0.3), "patch": (draw_patch, 1.2, 0.0),
    "foreground": (draw_foreground, 1.0, 0.0), "strands": (draw_strands, 1.2, 0.2),
    "veil": (draw_veil, 0.6, 0.0), "caption": (draw_caption, 0.6, 0.0), "edge": (draw_edge, 0.8, 0.0),
}  # fmt: skip
KINDS = tuple(_PAINTERS)
_CHANCE = np.array([chance for _, chance, _ in _PAINTERS.values()])
_CHANCE = _CHANCE / _CHANCE.sum()


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
    canvas = Canvas(rng, size, box, skin or skin_colour(rng))
    alpha, colour = painter(canvas)
    if light != (1.0, 1.0, 1.0):
        colour = np.clip(colour * np.array(light, np.float32), 0, 1)
    return Occlusion(alpha, colour, _shadow(canvas, alpha, contact), name)


def _shadow(canvas: Canvas, alpha: Array, strength: float) -> Array:
    """The coverage itself, moved away from the light, blurred and weakened."""
    h, w = alpha.shape
    if strength == 0:
        return np.zeros((h, w), np.float32)
    shift = canvas.light[:2] * np.float32(-0.1 * canvas.face / 4)
    coarse = Image.fromarray((alpha[::4, ::4] * np.float32(255 * strength)).astype(np.uint8))
    grid = (1, 0, -float(shift[0]), 0, 1, -float(shift[1]))
    coarse = coarse.transform(coarse.size, Image.Transform.AFFINE, grid, Image.Resampling.BILINEAR)
    coarse = coarse.filter(ImageFilter.BoxBlur(max(0.5, 0.03 * canvas.face / 4)))
    return np.asarray(coarse.resize((w, h), Image.Resampling.BILINEAR)) * BYTE


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
