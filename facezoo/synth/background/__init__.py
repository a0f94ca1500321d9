"""Backgrounds behind the synthetic people: two dozen kinds of cheap clutter, defocused and recoloured.

A network only learns to ignore what it has seen. Nothing here has to be beautiful; it has to differ: smooth studio
sweeps, textures, rooms, streets, greenery, crowds, writing, and skin-coloured shapes that are no faces. Every painter
draws 8-bit sRGB with Pillow, then one finish (defocus, light fall-off, colour cast) covers all of them.
"""

from __future__ import annotations

from facezoo.synth.background.colours import Colour, skin_colour
from facezoo.synth.background.sample import KINDS, sample_background

__all__ = ["KINDS", "Colour", "sample_background", "skin_colour"]
