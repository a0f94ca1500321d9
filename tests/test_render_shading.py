"""Shading: DECA's harmonics, lights that integrate to what they should, and the sRGB curve."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from facezoo.errors import InputError
from facezoo.render import (
    blinn_phong,
    lambert,
    linear_to_srgb,
    sh_basis,
    sh_directional,
    shade_sh,
    srgb_to_linear,
)


def directions(count: int = 20_000, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def test_the_factors_are_those_of_deca() -> None:
    known = torch.tensor([0.28209, *3 * [1.02333], *3 * [0.85809], 0.42904, 0.24771], dtype=torch.float64)
    n = functional.normalize(torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64), dim=-1)
    x, y, z = n[0].tolist()
    terms = torch.tensor([1, x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], dtype=torch.float64)
    torch.testing.assert_close(sh_basis(n)[0], terms * known, atol=2e-5, rtol=0)


def test_the_basis_is_orthogonal_over_the_sphere() -> None:
    basis = sh_basis(directions(400_000))
    gram = basis.T @ basis / len(basis)
    correlation = gram / torch.sqrt(gram.diagonal()[:, None] * gram.diagonal()[None])
    assert (correlation - torch.eye(9)).abs().max() < 0.01


def test_shade_is_the_sum_over_the_basis() -> None:
    normals = directions(2 * 5 * 7).view(2, 5, 7, 3)
    sh = torch.randn(2, 9, 3, dtype=torch.float64)
    expected = torch.einsum("bhwk,bkc->bhwc", sh_basis(normals), sh)
    torch.testing.assert_close(shade_sh(normals, sh), expected)
    torch.testing.assert_close(
        shade_sh(normals, sh[:1]), torch.einsum("bhwk,kc->bhwc", sh_basis(normals), sh[0])
    )
    assert torch.autograd.gradcheck(
        shade_sh, (normals[:, :1, :2].clone().requires_grad_(), sh.requires_grad_())
    )


def test_a_directional_light_is_the_best_fit_of_the_cosine() -> None:
    light = functional.normalize(torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64), dim=-1)
    normals = directions(200_000).unsqueeze(0)
    cosine = lambert(normals, light)[0]
    fitted = torch.linalg.lstsq(sh_basis(normals[0]), cosine.unsqueeze(-1)).solution[:, 0]
    given = sh_directional(light, torch.ones(1, 3, dtype=torch.float64))[0, :, 0]
    torch.testing.assert_close(given, fitted, atol=0.01, rtol=0)
    shaded = shade_sh(normals, sh_directional(light, torch.tensor([[1.0, 0.5, 0.0]], dtype=torch.float64)))
    assert (shaded[0, :, 0] - cosine).abs().max() < 0.1
    torch.testing.assert_close(shaded[..., 1] * 2, shaded[..., 0])
    assert (shaded[..., 2] == 0).all()


def test_ambient_light_is_band_zero() -> None:
    sh = torch.zeros(1, 9, 3, dtype=torch.float64)
    sh[:, 0] = 2 * math.sqrt(math.pi) * 0.7
    shaded = shade_sh(directions(50).unsqueeze(0), sh)
    torch.testing.assert_close(shaded, torch.full_like(shaded, 0.7))


@pytest.mark.parametrize("shininess", [8.0, 60.0])
def test_a_highlight_keeps_its_energy_and_sits_at_the_mirror_direction(shininess: float) -> None:
    up = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    views = directions(400_000)
    views = views * views[:, 2:].sign()
    normals = up.expand(len(views), 3).unsqueeze(0)
    # Reflected share of a light straight above: the mean over the hemisphere of f cos, times 2 pi / pi.
    energy = (blinn_phong(normals, up, views.unsqueeze(0), shininess)[0] * views[:, 2]).mean() * 2
    assert 0.8 < energy < 1.3
    light = functional.normalize(torch.tensor([[0.5, 0.0, 1.0]], dtype=torch.float64), dim=-1)
    brightest = views[blinn_phong(normals, light, views.unsqueeze(0), shininess)[0].argmax()]
    assert brightest @ (light[0] * torch.tensor([-1.0, 1.0, 1.0])) > 0.999


def test_no_light_reaches_what_is_turned_away() -> None:
    normals = directions(100).unsqueeze(0)
    light = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    away = normals[..., 2] < 0
    assert (lambert(normals, light)[away] == 0).all()
    assert (blinn_phong(normals, light, light, torch.tensor([20.0]))[away] == 0).all()


def test_srgb_round_trip_and_known_values() -> None:
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-6, rtol=0)
    assert abs(float(srgb_to_linear(torch.tensor(0.5))) - 0.21404) < 1e-4
    assert (srgb_to_linear(values).diff() > 0).all()
    edge = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    linear_to_srgb(edge).sum().backward()
    assert torch.isfinite(edge.grad).all()


def test_wrong_coefficients_are_named() -> None:
    with pytest.raises(InputError, match="shade_sh: sh must be"):
        shade_sh(torch.rand(2, 5, 3), torch.rand(2, 3, 9))
