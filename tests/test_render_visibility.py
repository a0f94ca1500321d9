"""Visibility of vertices, and shadows: the near half of a ball, what stands behind a wall, what lies in the dark."""

from __future__ import annotations

import pytest
import torch
from render_meshes import ball, project
from torch.nn import functional

from facezoo.errors import InputError
from facezoo.render import front_facing, interpolate, rasterize, shadow, visibility

CENTRE = torch.tensor([0.0, 0.0, 4.0])


def test_of_a_sphere_the_near_cap_is_visible() -> None:
    vertices, faces, camera = ball(batch=3, around=40, bands=40)
    seen = visibility(vertices, faces)
    facing = ((camera - CENTRE) * camera).sum(-1)  # 0 on the outline
    assert seen[facing < -0.15].all()
    assert not seen[facing > 0.15].any()
    elsewhere = visibility(
        vertices * torch.tensor([9.0, 9.0, 1.0]) + torch.tensor([500.0, -50.0, 0.0]), faces
    )
    assert (seen == elsewhere).float().mean() > 0.99


def test_given_normals_decide_what_faces_the_camera() -> None:
    vertices, faces, camera = ball(around=40, bands=40)
    normals = camera - CENTRE
    seen = visibility(vertices, faces, normals)
    assert seen[normals[..., 2] < -0.4].all()
    assert not seen[normals[..., 2] > 0].any()
    assert not visibility(vertices, faces, -normals)[normals[..., 2] < 0].any()


def test_a_wall_hides_what_stands_behind_it() -> None:
    vertices, faces, _ = ball(around=40, bands=40)
    count = vertices.shape[1]
    wall = project(
        torch.tensor([[[-1.0, -1.0, 2.0], [-1.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, -1.0, 2.0]]]), 64
    )
    both = torch.cat((vertices, wall), 1)
    more = torch.cat((faces, torch.tensor([[0, 1, 2], [0, 2, 3]]) + count))
    alone, behind = visibility(vertices, faces), visibility(both, more)
    assert not behind[:, :count][vertices[..., 0] < 31].any()
    right = vertices[..., 0] > 34
    assert torch.equal(behind[:, :count][right], alone[right])
    assert behind[:, count:].all()


def test_invalid_vertices_are_not_visible_and_harm_nothing() -> None:
    vertices, faces, camera = ball(batch=2, around=40, bands=40)
    clean = visibility(vertices, faces)
    bad = int((camera[1] - CENTRE)[:, 2].argmin())
    vertices[1, bad] = torch.nan
    seen = visibility(vertices, faces)
    assert not seen[1, bad]
    assert torch.equal(seen[0], clean[0])
    assert (seen[1] == clean[1]).float().mean() > 0.99
    assert not visibility(torch.full_like(vertices, torch.nan), faces).any()


def test_front_facing_is_where_normals_meet_the_ray() -> None:
    vertices, faces, camera = ball(batch=2)
    a, b, c = camera[:, faces].unbind(2)
    towards = (torch.linalg.cross(b - a, c - a) * a).sum(-1)
    clear = towards.abs() > 1e-4
    assert torch.equal(front_facing(vertices, faces)[clear], (towards < 0)[clear])


def test_visibility_names_wrong_shapes() -> None:
    vertices, faces, _ = ball()
    with pytest.raises(InputError, match="vertices_screen must be"):
        visibility(vertices[0], faces)
    with pytest.raises(InputError, match="normals must be"):
        visibility(vertices, faces, torch.rand(1, 3, 3))


def test_a_ball_shades_its_own_far_side() -> None:
    vertices, faces, camera = ball(batch=2, size=80, around=40, bands=40)
    seen = rasterize(vertices, faces, (80, 80))
    covered = seen.face_index >= 0
    points = interpolate(seen, faces, camera)
    light = functional.normalize(torch.tensor([[1.0, -0.3, -0.4], [-1.0, 0.2, 0.1]]), dim=-1)
    lit = shadow(camera, faces, light, points, covered, normals=points - CENTRE, softness=0.02, bias=0.02)
    cosine = ((points - CENTRE) * light[:, None, None]).sum(-1)
    assert (lit[~covered] == 1).all()
    assert (lit[covered & (cosine > 0.25)] > 0.9).all()
    assert (lit[covered & (cosine < -0.25)] < 0.01).all()
    everywhere = shadow(camera, faces, light, points, normals=points - CENTRE, softness=0.02, bias=0.02)
    torch.testing.assert_close(everywhere[covered], lit[covered])


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (2.0, -3.0, 1.0)])
def test_a_square_casts_its_outline(direction: tuple[float, float, float]) -> None:
    light = functional.normalize(torch.tensor([direction]), dim=-1)
    side = functional.normalize(torch.linalg.cross(light, torch.tensor([[0.3, 0.4, 0.5]])), dim=-1)
    other = torch.linalg.cross(light, side)
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    caster = (corners[:, :1] * side + corners[:, 1:] * other).unsqueeze(0) * 0.1
    place = torch.rand(1, 4000, 2, generator=torch.Generator().manual_seed(0)) * 4 - 2
    behind = (place[..., :1] * side + place[..., 1:] * other - light * 3) * 0.1
    before = behind + light * 0.6
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]])
    distance = place.abs().amax(-1) - 1  # outside of the outline, in tenths of a metre
    dark = shadow(caster, faces, light, behind, softness=0.002)
    assert (dark[distance < -0.06] == 0).all()
    assert (dark[distance > 0.06] == 1).all()
    assert (shadow(caster, faces, light, before, softness=0.002) == 1).all()
    soft = shadow(caster, faces, light, behind, softness=torch.tensor([0.02]))
    edge = distance.abs() < 0.15
    assert ((soft[edge] > 0) & (soft[edge] < 1)).float().mean() > 0.6
    assert abs(float(soft.mean() - dark.mean())) < 0.02


def test_shadow_names_wrong_shapes() -> None:
    _, faces, camera = ball()
    with pytest.raises(InputError, match="shadow: "):
        shadow(camera, faces, torch.rand(3), camera)
