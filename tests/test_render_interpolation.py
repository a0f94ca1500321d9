"""Interpolation: exact on what is linear in space, differentiable, and closed to what is not seen."""

from __future__ import annotations

import pytest
import torch
from render_meshes import ball, soup

from facezoo.errors import InputError
from facezoo.render import Fragments, interpolate, rasterize

SIZE = (26, 30)


def test_the_interpolated_position_is_the_pixel() -> None:
    vertices, faces, camera = ball(batch=3, size=64)
    seen = rasterize(vertices, faces, (64, 64))
    position = interpolate(seen, faces, camera)
    covered = seen.face_index >= 0
    _, y, x = covered.nonzero().unbind(-1)
    projected = position[covered][:, :2] / position[covered][:, 2:] * 1.6 * 64 + 32
    torch.testing.assert_close(projected, torch.stack((x + 0.5, y + 0.5), -1), atol=1e-3, rtol=0)
    torch.testing.assert_close(position[covered][:, 2], seen.depth[covered], atol=1e-5, rtol=0)
    assert (position[~covered] == 0).all()


@pytest.mark.parametrize("shared", [False, True])
def test_agrees_with_indexing(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = soup(batch=5)
    seen = rasterize(vertices, faces, SIZE)
    attributes = torch.randn(5, 40, 7)[0] if shared else torch.randn(5, 40, 7)
    table = attributes.expand(5, 40, 7)
    corners = faces[seen.face_index.clamp(min=0)]
    expected = torch.stack([(table[b][corners[b]] * seen.bary[b].unsqueeze(-1)).sum(-2) for b in range(5)])
    torch.testing.assert_close(interpolate(seen, faces, attributes), expected)
    monkeypatch.setattr("facezoo.render.interpolation._CPU_PIXELS", 2 * SIZE[0] * SIZE[1])
    torch.testing.assert_close(interpolate(seen, faces, attributes), expected)
    torch.testing.assert_close(interpolate(seen, faces.flip(1), attributes).shape, expected.shape)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("pixels", [1 << 16, 200])
def test_gradients_are_those_of_finite_differences(
    shared: bool, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facezoo.render.interpolation._CPU_PIXELS", pixels)
    vertices, faces = soup(batch=3, vertices=20, faces=14)
    seen = rasterize(vertices.double() * torch.tensor([0.5, 0.5, 1.0]), faces, (13, 15))
    attributes = (
        torch.randn(20, 2, dtype=torch.float64) if shared else torch.randn(3, 20, 2, dtype=torch.float64)
    )
    mixture = torch.rand(12, 3 * 13 * 15 * 2, dtype=torch.float64)

    def mixed(bary: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        fragments = Fragments(seen.face_index, bary * (seen.face_index >= 0).unsqueeze(-1), seen.depth)
        return mixture @ interpolate(fragments, faces, values).view(-1)

    inputs = (seen.bary.clone().requires_grad_(), attributes.requires_grad_())
    assert torch.autograd.gradcheck(mixed, inputs, fast_mode=True)


def test_gradients_reach_the_vertices() -> None:
    vertices, faces = soup(batch=2, vertices=20, faces=14)
    vertices = (vertices.double() * torch.tensor([0.5, 0.5, 1.0])).requires_grad_()
    colours = torch.rand(20, 3, dtype=torch.float64)
    mixture = torch.rand(12, 2 * 13 * 15 * 3, dtype=torch.float64)

    def mixed(points: torch.Tensor) -> torch.Tensor:
        return mixture @ interpolate(rasterize(points, faces, (13, 15)), faces, colours).view(-1)

    assert torch.autograd.gradcheck(mixed, (vertices,), eps=1e-7, atol=1e-4)


def test_nan_at_a_vertex_stays_on_its_faces() -> None:
    vertices, faces = soup(batch=1)
    seen = rasterize(vertices, faces, SIZE)
    values = torch.ones(40, 1)
    vertex = int(faces[0, 0])
    values[vertex] = torch.nan
    result = interpolate(seen, faces, values)
    touched = (faces == vertex).any(-1)[seen.face_index.clamp(min=0)] & (seen.face_index >= 0)
    assert torch.isfinite(result[..., 0][~touched]).all()
    assert (result[..., 0][seen.face_index < 0] == 0).all()


@pytest.mark.parametrize("shape", [(40,), (3, 40, 2), (2, 2, 40, 2)])
def test_wrong_shapes_are_named(shape: tuple[int, ...]) -> None:
    vertices, faces = soup(batch=2)
    with pytest.raises(InputError, match="interpolate: "):
        interpolate(rasterize(vertices, faces, SIZE), faces, torch.zeros(shape))
