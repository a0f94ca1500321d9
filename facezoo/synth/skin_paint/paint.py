"""Paint one person's albedo and gloss, layer by layer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facezoo.errors import InputError
from facezoo.synth.skin_paint.arrays import Array
from facezoo.synth.skin_paint.beard import paint_beard
from facezoo.synth.skin_paint.brows import paint_brows
from facezoo.synth.skin_paint.complexion import paint_complexion
from facezoo.synth.skin_paint.eyes import paint_eyes
from facezoo.synth.skin_paint.face import Face
from facezoo.synth.skin_paint.geometry import measure_layout
from facezoo.synth.skin_paint.layout import FaceLayout
from facezoo.synth.skin_paint.lips import paint_lips
from facezoo.synth.skin_paint.makeup import paint_blush, paint_carnival
from facezoo.synth.skin_paint.marks import paint_marks
from facezoo.synth.skin_paint.scalp import paint_scalp
from facezoo.synth.skin_paint.traits import SkinTraits, sample_traits
from facezoo.synth.skin_paint.wrinkles import paint_wrinkles

# From the skin outwards: each layer covers or stains what lies below.
LAYERS = (
    paint_complexion, paint_wrinkles, paint_marks, paint_scalp, paint_blush, paint_eyes, paint_lips, paint_beard,
    paint_brows, paint_carnival,
)  # fmt: skip


class SkinTexture(NamedTuple):
    """What :func:`paint_albedo` returns.

    Attributes:
        albedo: (S, S, 3) linear RGB.
        specular: (S, S) in [0, 1], 0 matt (hair, powder), about 0.35 skin, 1 wet or glossy.
    """

    albedo: Array
    specular: Array


def paint_albedo(
    rng: np.random.Generator, layout: FaceLayout, size: int = 256, traits: SkinTraits | None = None,
    creases: Array | None = None,
) -> SkinTexture:  # fmt: skip
    """Paint one person's skin.

    Args:
        rng: the only source of randomness; the same state, layout and traits give the same texture.
        layout: where the features are; measured on first use and then kept, so pass the same object again.
        size: side of the texture in texels.
        traits: who it is; None draws :func:`sample_traits`.
        creases: (size, size) 0..1 where the person's own creases are; None draws some by age.

    Returns:
        Albedo (size, size, 3) linear RGB in [0, 1] and specular (size, size); texels outside the layout's mask continue
        their neighbours.

    Raises:
        InputError: ``size`` is below 32.
    """
    if size < 32:
        raise InputError(f"a texture needs at least 32 texels a side, got size={size}.")
    who = sample_traits(rng) if traits is None else traits
    face = Face(rng, layout, measure_layout(layout, int(size)), who, creases)
    for layer in LAYERS:
        layer(face)
    albedo = np.clip(face.rgb, 0.002, 0.95, out=face.rgb).T.reshape(size, size, 3)
    return SkinTexture(np.ascontiguousarray(albedo), np.clip(face.gloss, 0, 1).reshape(size, size))
