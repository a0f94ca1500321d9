"""Light on surfaces: order-2 spherical harmonics, one directional light with a highlight, and the sRGB curve.

All colours are linear RGB. Directions and normals share one frame of the caller's choice and are unit vectors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facezoo.errors import InputError

# Real spherical harmonics with the cosine lobe's band factors (2 pi / 3, pi / 4) folded in; band 0 lacks its pi.
# This is DECA's convention (Feng et al. 2021, after Ramamoorthi & Hanrahan 2001), kept so that its codes mean the same.
SH_FACTORS: tuple[float, ...] = (
    1 / math.sqrt(4 * math.pi),
    *(3 * [(2 * math.pi / 3) * math.sqrt(3 / (4 * math.pi))]),
    *(3 * [(math.pi / 4) * 3 * math.sqrt(5 / (12 * math.pi))]),
    (math.pi / 4) * 1.5 * math.sqrt(5 / (12 * math.pi)),
    (math.pi / 4) * 0.5 * math.sqrt(5 / (4 * math.pi)),
)


def sh_basis(normals: Tensor) -> Tensor:
    """Evaluate the nine basis functions 1, x, y, z, xy, xz, yz, x^2 - y^2, 3 z^2 - 1 times `SH_FACTORS`.

    Args:
        normals: (..., 3).

    Returns:
        (..., 9).
    """
    x, y, z = normals.unbind(-1)
    terms = (torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1)
    return torch.stack(terms, -1) * normals.new_tensor(SH_FACTORS)


def shade_sh(normals: Tensor, sh: Tensor) -> Tensor:
    """Irradiance from spherical harmonics at each normal; multiply by the albedo for the picture.

    Nothing is clamped: strong directional coefficients can give slightly negative light opposite to them.

    Args:
        normals: (B, ..., 3).
        sh: (B, 9, 3), band by colour channel.

    Returns:
        (B, ..., 3).

    Raises:
        InputError: when sh is not (B, 9, 3).
    """
    if sh.ndim != 3 or sh.shape[1:] != (9, 3) or sh.shape[0] not in (1, normals.shape[0]):
        raise InputError(f"shade_sh: sh must be ({normals.shape[0]}, 9, 3), got {tuple(sh.shape)}.")
    # The basis is folded into the coefficients of the ten monomials, so that no (..., 9) tensor is ever written.
    k = sh * sh.new_tensor(SH_FACTORS).unsqueeze(-1)
    k = k.view(k.shape[0], 9, *(1,) * (normals.ndim - 2), 3)
    x, y, z = (n.unsqueeze(-1) for n in normals.unbind(-1))
    constant = k[:, 0] - k[:, 8]
    by_x = k[:, 1] + k[:, 7] * x + k[:, 4] * y + k[:, 5] * z
    by_y = k[:, 2] - k[:, 7] * y + k[:, 6] * z
    return constant + by_x * x + by_y * y + (k[:, 3] + 3 * k[:, 8] * z) * z


def sh_directional(direction: Tensor, colour: Tensor) -> Tensor:
    """Coefficients of one distant light, the best order-2 fit of colour * max(0, n . direction).

    Args:
        direction: (B, 3) unit, towards the light.
        colour: (B, 3) linear RGB.

    Returns:
        (B, 9, 3); add the coefficients of several lights, and 2 sqrt(pi) * colour on band 0 for ambient light.
    """
    # The basis carries the cosine lobe's factors 2 pi / 3 and pi / 4 but lacks the pi of band 0: take the former out of
    # the light's own harmonics and put the latter in.
    factor = direction.new_tensor((math.pi, *(3 * [1.5 / math.pi]), *(5 * [4 / math.pi])))
    return (sh_basis(direction) * factor).unsqueeze(-1) * colour.unsqueeze(-2)


def lambert(normals: Tensor, light: Tensor) -> Tensor:
    """Cosine of the angle to the light, 0 behind: (B, ..., 3) normals, (B, 3) unit towards the light -> (B, ...)."""
    return (normals * _broadcast(light, normals)).sum(-1).clamp(min=0)


def blinn_phong(normals: Tensor, light: Tensor, view: Tensor, shininess: float | Tensor) -> Tensor:
    """Normalised Blinn-Phong highlight of one distant light, the cosine term included.

    Args:
        normals: (B, ..., 3) unit.
        light: (B, 3) unit, towards the light.
        view: (B, 3) or (B, ..., 3) unit, towards the eye.
        shininess: exponent, a number or (B,) or broadcastable to (B, ...).

    Returns:
        (B, ...); integrates to about 1 over the hemisphere of half vectors, whatever the exponent (Akenine-Moller et
        al., Real-Time Rendering 4th ed., section 9.8: factor (n + 8) / (8 pi), here times pi as lights carry no 1/pi).
    """
    half = torch.nn.functional.normalize(_broadcast(light, normals) + _broadcast(view, normals), dim=-1)
    cosine = (normals * half).sum(-1).clamp(min=0)
    if isinstance(shininess, Tensor) and shininess.ndim == 1:
        shininess = shininess.view(-1, *(1,) * (cosine.ndim - 1))
    return cosine**shininess * ((shininess + 8) / 8) * lambert(normals, light)


def _broadcast(direction: Tensor, normals: Tensor) -> Tensor:
    """Let a (B, 3) direction meet (B, ..., 3) normals."""
    if direction.ndim == normals.ndim:
        return direction
    return direction.view(direction.shape[0], *(1,) * (normals.ndim - 2), 3)


def srgb_to_linear(srgb: Tensor) -> Tensor:
    """Decode sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Encode linear light as sRGB; values outside [0, 1] are clamped, as a screen would."""
    linear = linear.clamp(0, 1)
    return torch.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    )
