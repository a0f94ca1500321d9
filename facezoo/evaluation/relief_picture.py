"""A picture of :mod:`facezoo.evaluation.relief`: photo, coarse head, detailed head, that head with the true relief."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from facezoo.evaluation.relief import Measured
from facezoo.models.deca.predict import Deca
from facezoo.models.deca.strip import photo, sheet, tile


def draw_relief(model: Deca, tests: Sequence[Measured]) -> Image.Image:
    """Draw one row a face; the true relief lies on the predicted head, so that only the relief differs."""
    rows = []
    for test in tests:
        face = test.face
        true = replace(face, detail={**(face.detail or {}), "displacement": test.truth[0]})
        rows.append([
            ("photo", photo(test.sample.image, face)), ("coarse", tile(model, face, False)),
            ("detailed", tile(model, face)), ("true relief", tile(model, true)),
        ])  # fmt: skip
    return sheet(rows)
