"""Skin painted in texture space: ``sample_traits`` says who it is, ``paint_albedo`` paints them.

Everything that depends on the head alone (distances in millimetres from every texel to brows, lids, lips, beard line…)
is measured once a layout and size, in ``geometry``. A texture is then a few matrix products, noise look-ups and small
scattered blends, one room a layer, applied in ``paint``'s order. Skin is modelled as light passing two dyes: albedo =
tone · exp(-melanin·σm - blood·σh), so that a mark darkens light and dark skin by the same factor and shifts its hue as
it should.
"""

from __future__ import annotations

from facezoo.synth.skin_paint.hair_colour import sample_hair_colour
from facezoo.synth.skin_paint.layout import FaceLayout
from facezoo.synth.skin_paint.paint import SkinTexture, paint_albedo
from facezoo.synth.skin_paint.tone import skin_tone
from facezoo.synth.skin_paint.traits import BEARDS, BROWS, SkinTraits, sample_traits

__all__ = [
    "BEARDS", "BROWS", "FaceLayout", "SkinTexture", "SkinTraits", "paint_albedo", "sample_hair_colour",
    "sample_traits", "skin_tone",
]  # fmt: skip
