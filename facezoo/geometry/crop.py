"""Face crops: one :class:`CropSpec` maps boxes to network inputs, in training and in prediction alike.

Coordinates are continuous with pixel centres at .5, so affine maps need no half-pixel corrections: the image
spans [0, w] × [0, h] and the crop [0, size] × [0, size].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from facezoo.errors import InputError, unknown_name

Padding = Literal["zeros", "edge"]
_PADDINGS = ("zeros", "edge")
# Narrowest side of a box, pixels: below this there is no face to see and the map would blow up.
_MIN_SIDE = 1e-3


def to_homogeneous_affine(affine: Tensor) -> Tensor:
    """Append the row (0, 0, 1): (..., 2, 3) -> (..., 3, 3)."""
    if affine.shape[-2:] != (2, 3):
        raise InputError(f"affine must end in shape (2, 3), got {tuple(affine.shape)}.")
    last = torch.zeros_like(affine[..., :1, :])
    last[..., 2] = 1
    return torch.cat((affine, last), -2)


def apply_affine(points: Tensor, affine: Tensor) -> Tensor:
    """Move points (..., N, 2) through affine maps (..., 2, 3)."""
    if points.shape[-1] != 2 or affine.shape[-2:] != (2, 3):
        raise InputError(
            f"expected points (..., N, 2), affine (..., 2, 3), "
            f"got {tuple(points.shape)}, {tuple(affine.shape)}."
        )
    return points @ affine[..., :2].mT + affine[..., None, :, 2]


def invert_affine(affine: Tensor) -> Tensor:
    """Return the inverse maps, (..., 2, 3) -> (..., 2, 3)."""
    return torch.linalg.inv(to_homogeneous_affine(affine))[..., :2, :]


def tight_box(points: Tensor) -> Tensor:
    """Return the box (x0, y0, x1, y1) around points: (..., N, 2) -> (..., 4)."""
    return torch.cat((points.amin(-2), points.amax(-2)), -1)


@dataclass(frozen=True)
class CropSpec:
    """How a network wants its face: a square around a tight box; JSON-serialisable, part of config.json.

    The square's side is ``scale * sqrt(w h)`` of the box tight around the iBUG-68 points (brows to chin), its
    centre the box centre plus ``shift`` times the side.

    Attributes:
        size: side of the crop in its own pixels.
        scale: side of the square over the geometric mean of the box's sides.
        shift: (x, y) offset of the square, as fractions of its side; y < 0 shows more forehead.
        padding: what lies outside the image: ``"zeros"`` (black) or ``"edge"`` (the border pixels repeat).
        mean, std: per channel RGB normalisation for :meth:`normalise` (ImageNet's by default).
    """

    size: int = 128
    scale: float = 1.45
    shift: tuple[float, float] = (0.0, 0.0)
    padding: Padding = "zeros"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name, length in (("shift", 2), ("mean", 3), ("std", 3)):  # JSON and YAML bring lists
            value = tuple(float(v) for v in getattr(self, name))
            if len(value) != length:
                raise InputError(f"CropSpec.{name} needs {length} numbers, got {len(value)}.")
            object.__setattr__(self, name, value)
        if int(self.size) != self.size or self.size < 1:
            raise InputError(f"CropSpec.size must be a positive integer, got {self.size!r}.")
        if not self.scale > 0 or not math.isfinite(self.scale):
            raise InputError(f"CropSpec.scale must be positive, got {self.scale!r}.")
        if min(self.std) <= 0:
            raise InputError(f"CropSpec.std must be positive, got {self.std!r}.")
        if self.padding not in _PADDINGS:
            raise unknown_name("padding", str(self.padding), _PADDINGS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; :meth:`from_dict` reads them back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CropSpec:
        """Build from :meth:`to_dict`'s values; an unknown key raises with the nearest known one."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown_name("CropSpec field", str(key), known)
        return cls(**values)

    def square(self, boxes: Tensor) -> Tensor:
        """Return the upright squares (..., 4) in image pixels that boxes (..., 4) are cropped to."""
        centre, side = self._frame(boxes)
        half = side[..., None] / 2
        return torch.cat((centre - half, centre + half), -1)

    def affine(self, boxes: Tensor, angle: Tensor | float = 0.0) -> Tensor:
        """Return the map from image pixels to crop pixels.

        Args:
            boxes: (..., 4) x0, y0, x1, y1 in pixels, tight around the iBUG-68 points.
            angle: (...) or a number, radians: the crop's x axis points to (cos, sin) of it in the image, so a
                face whose eye line runs in that direction comes out level.

        Returns:
            (..., 2, 3). To jitter a training crop, jitter the boxes and the angle.
        """
        centre, side = self._frame(boxes)
        turn = torch.as_tensor(angle, dtype=boxes.dtype, device=boxes.device)
        zoom = self.size / side
        c, s = zoom * turn.cos(), zoom * turn.sin()
        linear = torch.stack((c, s, -s, c), -1).reshape(*c.shape, 2, 2)
        offset = self.size / 2 - (linear @ centre[..., None])
        return torch.cat((linear, offset), -1)

    def crop(self, image: Tensor | Sequence[Tensor], boxes: Tensor, angle: Tensor | float = 0.0) -> Tensor:
        """Cut faces out, antialiased; pixels outside the image follow ``padding``.

        Args:
            image: one image (3, H, W) for all boxes, or B images for B boxes ((B, 3, H, W) or a list), values
                in [0, 1].
            boxes: (B, 4) pixels.
            angle: see :meth:`affine`.

        Returns:
            (B, 3, size, size), not normalised. Differentiable in the image.
        """
        if boxes.dim() != 2 or boxes.shape[-1] != 4:
            raise InputError(f"boxes must have shape (B, 4), got {tuple(boxes.shape)}.")
        shared = isinstance(image, Tensor) and image.dim() == 3
        images = [torch.as_tensor(image)] * len(boxes) if shared else list(image)
        if len(images) != len(boxes):
            raise InputError(
                f"got {len(images)} images for {len(boxes)} boxes: give one image, or one a box."
            )
        if not images:
            return torch.zeros(0, 3, self.size, self.size, dtype=boxes.dtype, device=boxes.device)
        affine = self.affine(boxes, angle)
        pairs = zip(images, affine, strict=True)
        return torch.cat([warp(im[None], a[None], self.size, self.padding) for im, a in pairs])

    def normalise(self, crops: Tensor) -> Tensor:
        """Subtract the mean, divide by the deviation: (..., 3, h, w) in [0, 1] to network values."""
        return (crops - self._channels(self.mean, crops)) / self._channels(self.std, crops)

    def denormalise(self, crops: Tensor) -> Tensor:
        """Undo :meth:`normalise`."""
        return crops * self._channels(self.std, crops) + self._channels(self.mean, crops)

    @staticmethod
    def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]

    def _frame(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        if boxes.shape[-1] != 4 or not boxes.is_floating_point():
            raise InputError(f"boxes must be floats (..., 4), got {tuple(boxes.shape)} of {boxes.dtype}.")
        extent = boxes[..., 2:] - boxes[..., :2]
        if not bool(torch.isfinite(boxes).all()) or bool((extent < _MIN_SIDE).any()):
            raise InputError("boxes must be finite (x0, y0, x1, y1) with x1 > x0 and y1 > y0, in pixels.")
        side = self.scale * extent.prod(-1).sqrt()
        shift = torch.tensor(self.shift, dtype=boxes.dtype, device=boxes.device)
        return (boxes[..., :2] + boxes[..., 2:]) / 2 + shift * side[..., None], side


def warp(images: Tensor, affine: Tensor, size: int | tuple[int, int], padding: Padding = "zeros") -> Tensor:
    """Resample images through affine maps without aliasing.

    Enlarging is bilinear. For shrinking by f the image is first averaged over blocks of ⌊f⌋ pixels, and what
    is left (a factor below two) over 2 × 2 bilinear samples; the coordinates stay exact, whatever the blocks.

    Args:
        images: (B, C, H, W).
        affine: (B, 2, 3) maps image pixels to output pixels.
        size: side or (height, width) of the output.
        padding: ``"zeros"`` or ``"edge"`` outside the image.

    Returns:
        (B, C, height, width).
    """
    if images.dim() != 4 or affine.shape != (len(images), 2, 3):
        raise InputError(
            f"expected images (B, C, H, W), affine (B, 2, 3), "
            f"got {tuple(images.shape)}, {tuple(affine.shape)}."
        )
    if images.shape[-1] < 1 or images.shape[-2] < 1:
        raise InputError(f"the image is empty: {tuple(images.shape)}.")
    height, width = (size, size) if isinstance(size, int) else size
    inverse = invert_affine(affine.to(images.dtype))
    shrink = torch.linalg.det(inverse[..., :2]).abs().sqrt()
    blocks = shrink.floor().clamp(1, 4096).long()
    filters = 2 * blocks + (shrink / blocks > 1.01)  # equal filters together: a batch equals its singles
    out = images.new_empty(len(images), images.shape[1], height, width)
    for key in filters.unique().tolist():
        block, taps = key // 2, 1 + key % 2
        chosen = (filters == key).nonzero()[:, 0]
        whole = len(chosen) == len(images)
        source, inv = (images, inverse) if whole else (images[chosen], inverse[chosen])
        source, origin = _region(source, inv, height, width, block, padding)
        if block > 1:
            source = F.avg_pool2d(source, block)
        part = _sample(source, inv, origin, block, (height, width), taps, padding)
        if whole:
            return part
        out[chosen] = part
    return out


def _region(
    images: Tensor, inverse: Tensor, height: int, width: int, block: int, padding: Padding
) -> tuple[Tensor, tuple[int, int]]:
    """Cut the part of the images that the outputs see, padded to whole blocks.

    Returns:
        images (B, C, h, w), and the (x, y) pixel of their first corner. With ``block`` > 1 corner and size
        are multiples of it, so that what a block averages does not depend on which crops are cut together.
    """
    h, w = images.shape[-2:]
    corners = inverse.new_tensor([[0, 0], [width, 0], [0, height], [width, height]])
    reach = tight_box(apply_affine(corners, inverse))
    low, high = reach[:, :2].amin(0).tolist(), reach[:, 2:].amax(0).tolist()
    edges = []
    for start, stop, extent in zip(low, high, (w, h), strict=True):
        # Two blocks of margin for the bilinear neighbours, and never wholly outside, so that "edge" has an
        # edge.
        first = min(max(math.floor(start) - 2 * block, -2 * block), extent - 1) // block * block
        last = max(min(math.ceil(stop) + 2 * block, extent + 2 * block), first + 1, 1)
        edges += [first, -(-last // block) * block]
    x0, x1, y0, y1 = edges
    pad = [max(-x0, 0), max(x1 - w, 0), max(-y0, 0), max(y1 - h, 0)]
    part = images[..., max(y0, 0) : min(y1, h), max(x0, 0) : min(x1, w)]
    if block > 1 and any(pad):  # with single pixels the sampler's own padding does it
        part = F.pad(part, pad, mode="replicate") if padding == "edge" else F.pad(part, pad)
        return part, (x0, y0)
    return part, (max(x0, 0), max(y0, 0))


def _sample(
    source: Tensor,
    inverse: Tensor,
    origin: tuple[int, int],
    block: int,
    size: tuple[int, int],
    taps: int,
    padding: Padding,
) -> Tensor:
    """Sample ``source`` bilinearly at every output pixel, ``taps``² times per pixel."""
    height, width = size
    h, w = source.shape[-2:]
    xs = (torch.arange(width * taps, device=source.device, dtype=source.dtype) + 0.5) / taps
    ys = (torch.arange(height * taps, device=source.device, dtype=source.dtype) + 0.5) / taps
    # grid_sample with align_corners=False wants 2 (pixel / extent) - 1, the same half-pixel convention as
    # ours
    scale = source.new_tensor([2 / (w * block), 2 / (h * block)])
    start = source.new_tensor(origin)
    linear = scale[:, None] * inverse[..., :2]
    offset = scale * (inverse[..., 2] - start) - 1
    grid = (
        xs[None, None, :, None] * linear[:, None, None, :, 0]
        + ys[None, :, None, None] * linear[:, None, None, :, 1]
        + offset[:, None, None, :]
    )
    mode = "border" if padding == "edge" else "zeros"
    out = F.grid_sample(source, grid, mode="bilinear", padding_mode=mode, align_corners=False)
    return F.avg_pool2d(out, taps) if taps > 1 else out
