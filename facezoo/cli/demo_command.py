"""``facezoo demo``: the whole way from a photo to a mesh, offline, on the astronaut that scikit-image ships."""

from __future__ import annotations

import argparse
from pathlib import Path

import skimage.data

from facezoo.errors import AssetError
from facezoo.models.load import load


def astronaut() -> Path:
    """Return the photo's file: Eileen Collins, NASA, public domain.

    Raises:
        AssetError: this scikit-image does not carry it.
    """
    path = Path(skimage.data.__file__).parent / "astronaut.png"
    if not path.is_file():
        raise AssetError(f"this scikit-image has no {path}; run `facezoo predict` on a photo of your own.")
    return path


def run(args: argparse.Namespace) -> int:
    """Predict and write overlay, mesh and numbers."""
    prediction = load(args.model, device=args.device).predict(astronaut())
    print(prediction)
    for path in prediction.save(args.out, formats=("glb",)):
        print(f"wrote {path}")
    return 0
