"""What a network reads and returns, in words and numbers that an exported file carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facezoo.geometry.crop import CropSpec

# Units of outputs that several methods share.
CROP_SIDES = "sides of the crop, from its centre: crop pixel = (p + 0.5) * size"
CROP_PIXELS = "pixels of the crop, pixel centres at .5"
COEFFICIENTS = "coefficients of the head's components"
RADIANS = "radians, axis times angle"
NUMBER = "1"


@dataclass(frozen=True)
class Input:
    """One argument of ``forward``, float32.

    Attributes:
        shape: its sizes after the batch.
        values: what they mean, with units.
    """

    shape: tuple[int, ...]
    values: str


@dataclass(frozen=True)
class Signature:
    """What a program must know that runs the network without this package.

    Attributes:
        inputs: name -> argument, in the order of ``forward``.
        units: output -> unit; names and shapes are those of the NamedTuple that ``forward`` returns, meanings are the
            ``Attributes`` of its docstring.
        preprocessing: how the inputs are made from what a user has, as JSON values.
    """

    inputs: Mapping[str, Input]
    units: Mapping[str, str]
    preprocessing: Mapping[str, Any]


def crop_signature(crop: CropSpec, units: Mapping[str, str]) -> Signature:
    """Describe a network that reads one face crop.

    Args:
        crop: how the crop is cut.
        units: unit of each output.
    """
    values = "RGB in [0, 1], sRGB as in the file; mean and std are applied inside the network"
    return Signature(
        {"images": Input((3, crop.size, crop.size), values)},
        units,
        {
            **crop.to_dict(),
            "box": "x0, y0, x1, y1 in pixels of the picture, tight around the iBUG-68 points (brows to chin)",
            "square": "side = scale * sqrt(w * h) of the box, centre = centre of the box + shift * side; cut and "
            "resampled to size x size with antialiasing",
            "padding_means": "what lies outside the picture: 'edge' repeats its border pixels, 'zeros' is black",
            "pixel_centres": 0.5,
        },
    )
