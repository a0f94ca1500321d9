"""Camera and file damage for training crops, batched and cheap: colour, blur, noise, compression, holes.

Every function takes crops (B, 3, S, S) in [0, 1] and a generator; each acts on a random part of the batch only, so its
cost is that part's. Exploration (notes): without such damage real photographs score 0.2-1.3 % NME worse.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_LUMA = (0.299, 0.587, 0.114)


def uniform(rng: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Draw float32 values in [low, high) on the generator's device."""
    return torch.rand(shape, generator=rng, device=rng.device) * (high - low) + low


def choose(rng: torch.Generator, batch: int, probability: float) -> Tensor:
    """Draw the indices of the samples an effect acts on."""
    return (torch.rand(batch, generator=rng, device=rng.device) < probability).nonzero()[:, 0]


def jitter_color(x: Tensor, rng: torch.Generator, strength: float, grey: float) -> Tensor:
    """Change saturation, white balance, contrast, exposure and gamma of every sample; make some grey."""
    b = x.shape[0]
    shape = (b, 1, 1, 1)
    luma = (x * x.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    saturation = uniform(rng, shape, 1 - strength, 1 + strength)
    saturation[choose(rng, b, grey)] = 0
    gain = torch.exp(
        uniform(rng, shape, -0.7, 0.7) * strength + uniform(rng, (b, 3, 1, 1), -0.25, 0.25) * strength
    )
    contrast = torch.exp(uniform(rng, shape, -0.7, 0.7) * strength)
    middle = luma.mean((2, 3), keepdim=True)
    # one multiply-add per term: x' = gain * (contrast * (sat * x + (1 - sat) * luma - middle) + middle)
    out = (
        x * (saturation * contrast * gain)
        + (luma * ((1 - saturation) * contrast) + middle * (1 - contrast)) * gain
    )
    out = out.clamp_(0, 1)
    some = choose(rng, b, 0.5)
    if len(some):
        gamma = torch.exp(uniform(rng, (len(some), 1, 1, 1), -0.7, 0.7) * strength)
        out[some] = out[some].clamp_min(1e-4).pow(gamma)
    return out


def reduce_resolution(x: Tensor, rng: torch.Generator, probability: float, smallest: float) -> Tensor:
    """Shrink some samples (all by one factor, down to ``smallest``) and enlarge them again."""
    some = choose(rng, x.shape[0], probability)
    side = x.shape[-1]
    low = max(8, int(side * float(uniform(rng, (1,), smallest, 0.8))))
    if len(some):
        small = F.interpolate(x[some], size=(low, low), mode="bilinear", antialias=True)
        x[some] = F.interpolate(small, size=(side, side), mode="bilinear")
    return x


def blur(x: Tensor, rng: torch.Generator, probability: float, strongest: float) -> Tensor:
    """Blur some samples with a Gaussian of random width, elongation and direction (defocus and motion alike).

    Args:
        x: crops.
        rng: random numbers.
        probability: share of the batch.
        strongest: largest standard deviation in pixels of a 128 px crop.
    """
    some = choose(rng, x.shape[0], probability)
    if not len(some):
        return x
    n, reach = len(some), 4
    scale = x.shape[-1] / 128
    wide = uniform(rng, (n,), 0.3, strongest) * scale
    narrow = torch.maximum(wide * uniform(rng, (n,), 0.1, 1.0), torch.full_like(wide, 0.3))
    angle = uniform(rng, (n,), 0, math.pi)
    axis = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    kernel = torch.exp(
        -0.5 * (((u * c + v * s) / wide[:, None, None]) ** 2 + ((v * c - u * s) / narrow[:, None, None]) ** 2)
    )
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    kernels = kernel.repeat_interleave(3, 0).unsqueeze(1)
    picture = F.pad(x[some].reshape(1, n * 3, *x.shape[2:]), [reach] * 4, mode="replicate")
    x[some] = F.conv2d(picture, kernels, groups=n * 3).view(n, 3, *x.shape[2:])
    return x


def add_noise(x: Tensor, rng: torch.Generator, probability: float, strongest: float) -> Tensor:
    """Add sensor noise to some samples: grey and coloured, more of it where the picture is bright."""
    some = choose(rng, x.shape[0], probability)
    if not len(some):
        return x
    part = x[some]
    n = len(some)
    sigma = uniform(rng, (n, 1, 1, 1), 0, strongest) * (0.4 + part.sqrt())
    grain = torch.randn(part.shape, generator=rng, device=rng.device)
    color = uniform(rng, (n, 1, 1, 1), 0, 1)
    x[some] = (part + sigma * (color * grain + (1 - color) * grain[:, :1])).clamp_(0, 1)
    return x


def compress(x: Tensor, rng: torch.Generator, probability: float, coarsest: float) -> Tensor:
    """Quantise some samples as JPEG does: YCbCr, half-resolution chroma, 8×8 cosines, steps by frequency.

    Args:
        x: crops; the side must be a multiple of 16, others are returned unchanged.
        rng: random numbers.
        probability: share of the batch.
        coarsest: largest quantiser step of the lowest frequency, in units of 1/255.
    """
    some = choose(rng, x.shape[0], probability)
    if not len(some) or x.shape[-1] % 16:
        return x
    part = x[some]
    step = uniform(rng, (len(some), 1, 1, 1, 1, 1), 2.0, coarsest) / 255
    r, g, b = part.unbind(1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    chroma = F.avg_pool2d(torch.stack([(b - y) * 0.564, (r - y) * 0.713], 1), 2)
    y = _quantize(y.unsqueeze(1), step)[:, 0]
    cb, cr = F.interpolate(_quantize(chroma, step * 1.5), scale_factor=2.0, mode="bilinear").unbind(1)
    x[some] = torch.stack([y + 1.403 * cr, y - 0.344 * cb - 0.714 * cr, y + 1.773 * cb], 1).clamp_(0, 1)
    return x


def cut_out(x: Tensor, rng: torch.Generator, probability: float, largest: float) -> Tensor:
    """Cover a rectangle of some samples with a colour or with another sample's picture there."""
    some = choose(rng, x.shape[0], probability)
    side = x.shape[-1]
    if not len(some):
        return x
    boxes = uniform(rng, (len(some), 4), 0, 1).tolist()
    kind = uniform(rng, (len(some), 4), 0, 1)
    for i, (u, v, w, h), k in zip(some.tolist(), boxes, kind, strict=True):
        width, height = (max(4, int(side * largest * (0.2 + 0.8 * t))) for t in (w, h))
        left, top = int(u * side - width / 2), int(v * side - height / 2)
        area = (slice(None), slice(max(top, 0), top + height), slice(max(left, 0), left + width))
        if float(k[3]) < 0.5:
            x[i][area] = k[:3].view(3, 1, 1)
        else:  # what its neighbour in the batch shows there
            x[i][area] = x[i - 1][area].flip(1)
    return x


def _quantize(planes: Tensor, step: Tensor) -> Tensor:
    """Round the cosine coefficients of 8×8 blocks of (n, c, S, S) to multiples of a frequency-dependent step."""
    n, c, h, w = planes.shape
    k = torch.arange(8, device=planes.device, dtype=planes.dtype)
    basis = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) * 0.5
    basis[0] *= math.sqrt(0.5)
    blocks = planes.view(n, c, h // 8, 8, w // 8, 8).transpose(3, 4)
    spectrum = basis @ blocks @ basis.mT
    # Steps grow with frequency roughly as the standard's tables do, 1 at DC to about 6 at the corner.
    steps = step * (1 + 0.36 * (k[None] + k[:, None]))
    spectrum = torch.round(spectrum / steps) * steps
    return (basis.mT @ spectrum @ basis).transpose(3, 4).reshape(n, c, h, w)
