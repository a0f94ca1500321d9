"""The skin's own geometry: wrinkles that follow the expression, creases that stay, pores, as displacement in millimetres.

A person's relief is ``static + sum_k drive_k(expression) * folds_k``: ``folds.py`` lays that person's lines, ``drive.py``
says which muscle folds which of them, ``canvas.py`` carves them into the head's texture, ``person.py`` puts it together.
"""

from __future__ import annotations

from facezoo.synth.relief.drive import GROUPS, drives
from facezoo.synth.relief.person import TRUTH_SIDE, Relief, sample_relief, stored

__all__ = ["GROUPS", "TRUTH_SIDE", "Relief", "drives", "sample_relief", "stored"]
