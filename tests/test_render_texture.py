"""Textures: the direction of v, sampling, and baking a picture onto the mesh that is seen in it."""

from __future__ import annotations

import pytest
import torch
from render_meshes import ball

from facezoo.errors import InputError
from facezoo.render import bake_uv, interpolate, rasterize, sample_texture, uv_fragments


def square() -> tuple[torch.Tensor, torch.Tensor]:
    """Two triangles over the whole texture."""
    return torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor(
        [[0, 1, 2], [2, 1, 3]]
    )


def test_v_points_up_and_texel_centres_are_exact() -> None:
    texture = torch.arange(12.0).view(1, 1, 3, 4)
    u, v = (torch.arange(4) + 0.5) / 4, (torch.arange(3) + 0.5) / 3
    uv = torch.stack(torch.broadcast_tensors(u, v.unsqueeze(1)), -1).unsqueeze(0)
    torch.testing.assert_close(sample_texture(texture, uv)[0, 0], texture[0, 0].flip(0))


def test_beyond_the_border_the_border_is_repeated() -> None:
    texture = torch.arange(12.0).view(1, 1, 3, 4)
    uv = torch.tensor([[[[-3.0, 2.0], [2.0, 2.0], [-1.0, -1.0], [9.0, -0.2]]]])
    assert sample_texture(texture, uv).flatten().tolist() == [0.0, 3.0, 8.0, 11.0]


def test_one_texture_serves_a_batch() -> None:
    texture = torch.rand(1, 3, 5, 6)
    uv = torch.rand(4, 7, 8, 2)
    torch.testing.assert_close(sample_texture(texture, uv), sample_texture(texture.repeat(4, 1, 1, 1), uv))


def test_sampling_is_differentiable() -> None:
    texture = torch.rand(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    uv = (torch.rand(1, 3, 3, 2, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(sample_texture, (texture, uv))


def test_the_layout_covers_every_texel_with_its_own_coordinates() -> None:
    uv, faces = square()
    layout = uv_fragments(uv, faces, (16, 24))
    assert (layout.face_index >= 0).all()
    place = interpolate(layout, faces, uv)[0]
    y, x = torch.meshgrid((torch.arange(16) + 0.5) / 16, (torch.arange(24) + 0.5) / 24, indexing="ij")
    torch.testing.assert_close(place, torch.stack((x, 1 - y), -1), atol=1e-6, rtol=0)


def test_a_rendered_texture_bakes_back() -> None:
    uv, faces = square()
    # A square that leans away from the camera, corners as in the texture, y down on the screen.
    camera = torch.tensor([[[-1.0, 1.0, 4.0], [1.0, 1.0, 4.0], [-1.0, -1.0, 5.0], [1.0, -1.0, 5.0]]])
    screen = torch.cat((camera[..., :2] / camera[..., 2:] * 200 + 64, camera[..., 2:]), -1)
    ramp = torch.linspace(0, 1, 32)
    smooth = torch.stack(torch.broadcast_tensors(ramp, ramp.unsqueeze(1), torch.tensor(0.5))).unsqueeze(0)
    seen = rasterize(screen, faces, (128, 128))
    picture = sample_texture(smooth, interpolate(seen, faces, uv))
    texture, mask = bake_uv(picture, screen, faces, uv, faces, (32, 32))
    assert mask[..., 2:-2, 2:-2].all()
    torch.testing.assert_close(texture[..., 2:-2, 2:-2], smooth[..., 2:-2, 2:-2], atol=0.02, rtol=0)
    kept = uv_fragments(uv, faces, (32, 32))
    again, _ = bake_uv(picture, screen, faces, uv, faces, (32, 32), layout=kept)
    assert torch.equal(texture, again)


def test_baking_masks_what_is_hidden_turned_away_or_outside() -> None:
    vertices, faces, camera = ball(batch=2, size=96, around=32, bands=32)
    # An atlas of one cell a face.
    corner = torch.arange(len(faces) * 3).view(-1, 3)
    cell = torch.arange(len(faces))
    side = 45
    origin = torch.stack((cell % side, cell // side), -1).float()
    uv = ((origin.unsqueeze(1) + torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])) / side).view(-1, 2)
    picture = torch.ones(2, 3, 96, 96)
    _, mask = bake_uv(picture, vertices, faces, uv, corner, (180, 180))
    layout = uv_fragments(uv, corner, (180, 180))
    normal = camera - torch.tensor([0.0, 0.0, 4.0])  # of a unit sphere
    facing = interpolate(
        type(layout)(*(part.expand(2, *part.shape[1:]) for part in layout)),
        faces,
        (normal * camera).sum(-1, True),
    )[..., 0]
    owned = (layout.face_index >= 0).expand(2, -1, -1)
    assert mask[:, 0][owned & (facing < -0.35)].all()
    assert not mask[:, 0][owned & (facing > 0.35)].any()
    assert not mask[:, 0][~owned].any()
    shifted = vertices + torch.tensor([60.0, 0.0, 0.0])
    _, beyond = bake_uv(picture, shifted, faces, uv, corner, (180, 180))
    assert 0 < beyond.sum() < mask.sum()
    wall = torch.cat(
        (vertices, torch.tensor([[[-99.0, -99, 1], [-99, 300, 1], [300, -99, 1]]]).expand(2, -1, -1)), 1
    )
    behind = torch.cat((faces, torch.tensor([[0, 1, 2]]) + vertices.shape[1]))
    hidden_corner = torch.cat((corner, torch.tensor([[0, 0, 0]])))
    _, hidden = bake_uv(picture, wall, behind, uv, hidden_corner, (180, 180))
    assert not hidden.any()


def test_baking_is_differentiable_in_image_and_vertices() -> None:
    uv, faces = square()
    screen = torch.tensor([[[2.3, 10.1, 1.0], [9.7, 10.3, 1.2], [2.1, 1.7, 1.1], [9.9, 1.9, 1.3]]]).double()
    image = torch.rand(1, 1, 12, 12, dtype=torch.float64)

    def baked(picture: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        return bake_uv(picture, points, faces, uv.double(), faces, (5, 5))[0]

    assert baked(image, screen).abs().sum() > 0
    assert torch.autograd.gradcheck(baked, (image.requires_grad_(), screen.requires_grad_()))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match="sample_texture: "):
        sample_texture(torch.rand(3, 4, 4), torch.rand(1, 2, 2, 2))
    uv, faces = square()
    with pytest.raises(InputError, match="bake_uv: "):
        bake_uv(torch.rand(3, 8, 8), torch.rand(1, 4, 3), faces, uv, faces)
