"""A whole head's texture from one photo: what is seen, its mirror image where that was, the albedo model elsewhere."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from facezoo.models.deca.losses_detail import eroded

_LEAST = 0.02  # colours below are noise: no ratio of them means anything
_GAIN = (0.5, 2.0)  # how much brighter or darker the mirrored side may be made


def complete_texture(photo: Tensor, seen: Tensor, model: Tensor, *, feather: int = 9) -> Tensor:
    """Fill what a photo does not show.

    Args:
        photo: (3, h, w) unwrapped photo, sRGB, in a layout whose left half mirrors its right half.
        seen: (1, h, w) bool, where the photo shows the surface.
        model: (3, h, w) the same texture as albedo and light of the codes make it, sRGB.
        feather: odd width in texels of the transitions.

    Returns:
        (3, h, w) in [0, 1]: the photo where it is seen, less its outermost texels, which background may have tinted;
        elsewhere its mirror image in the light of the other side, where that is seen; elsewhere the model in the
        photo's overall colour.
    """
    mask = seen.to(photo.dtype)
    inner = _feathered(mask, feather)
    total = mask.sum().clamp_min(1)
    tint = ((photo * mask).sum((1, 2)) / total).clamp_min(_LEAST) / (
        (model * mask).sum((1, 2)) / total
    ).clamp_min(_LEAST)
    matched = model if not bool(seen.any()) else model * tint[:, None, None]
    relight = (model.clamp_min(_LEAST) / model.flip(-1).clamp_min(_LEAST)).clamp(*_GAIN)
    mirrored = photo.flip(-1) * relight
    other = inner.flip(-1)
    below = mirrored * other + matched * (1 - other)
    return (photo * inner + below * (1 - inner)).clamp(0, 1)


def _feathered(mask: Tensor, width: int) -> Tensor:
    """Shrink a mask (1, h, w) and let it fade to zero within itself."""
    inner = eroded(mask[None], width)
    return F.avg_pool2d(inner, width, stride=1, padding=width // 2, count_include_pad=False)[0] * mask
