"""Losses of the detail stage (Feng et al. 2021, section 4.2) on maps in texture space, all (B, C, H, W)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

_WINDOW = 5


def eroded(mask: Tensor, window: int = _WINDOW) -> Tensor:
    """Erode a mask by a box: 1 where the whole window is set; outside of the map nothing is."""
    reach = window // 2
    empty = F.pad((mask > 0).to(mask.dtype), (reach,) * 4)
    return -F.max_pool2d(-empty, window, stride=1)


def soft_symmetry_loss(displacement: Tensor, seen: Tensor, *, official: bool = False) -> Tensor:
    """Return how far unseen skin differs from its mirror image, which gets no gradient.

    Args:
        displacement: (B, 1, H, W).
        seen: (B, 1, H, W) what the picture shows; its border counts as unseen.
        official: the sum over batch and texels instead of the mean over unseen texels.
    """
    unseen = 1 - eroded(seen)
    difference = unseen * (displacement - displacement.flip(-1).detach()).abs()
    return difference.sum() if official else difference.sum() / unseen.sum().clamp_min(1.0)


def smoothness_loss(shading: Tensor) -> Tensor:
    """Return the mean squared difference of neighbours along rows plus that along columns.

    Each leaves out the first and last lines of the other direction, as the released code does.
    """
    across = shading[..., 1:-1, 1:] - shading[..., 1:-1, :-1]
    down = shading[..., 1:, 1:-1] - shading[..., :-1, 1:-1]
    return across.square().mean() + down.square().mean()


def size_loss(displacement: Tensor) -> Tensor:
    """Return the mean absolute displacement."""
    return displacement.abs().mean()


def patch(maps: Tensor, box: tuple[int, int, int, int], size: int) -> Tensor:
    """Cut rows and columns ``(top, bottom, left, right)`` out of maps and resize them to a square, bilinearly."""
    top, bottom, left, right = box
    part = maps[..., top:bottom, left:right]
    return F.interpolate(part, size=(size, size), mode="bilinear", align_corners=False)


def patch_box(mask: Tensor, margin: int = 2) -> tuple[int, int, int, int]:
    """Return the box of :func:`patch` around a mask (1, 1, H, W); the released code has 50 to 206 of 256 both ways."""
    rows, columns = (mask[0, 0].amax(axis) > 0 for axis in (1, 0))
    edges = []
    for line in (rows, columns):
        found = line.nonzero()[:, 0]
        if not len(found):
            edges += [0, len(line)]
            continue
        edges += [max(int(found[0]) - margin, 0), min(int(found[-1]) + 1 + margin, len(line))]
    return edges[0], edges[1], edges[2], edges[3]
