"""DECA's displacement maps: released composition to 1e-5, geometry of the clean one, detailed meshes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deca_packs import assert_near, load_pack

from facezoo.errors import AssetError
from facezoo.heads import HeadModel, load_head
from facezoo.mesh import vertex_normals
from facezoo.mesh.subdivide import subdivide
from facezoo.mesh.topology import boundary_edges, edges
from facezoo.models.deca.uv_detail import UvSurface, blended_normals, dense_faces, detailed_mesh, displaced
from facezoo.render import shade_sh


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("open-v1")


@pytest.fixture(scope="module")
def surface(head: HeadModel) -> UvSurface:
    return UvSurface(head, 128)


def test_composition_equals_the_released_one() -> None:
    pack = load_pack("deca-detail")
    faces = dense_faces(48, 48, (2, 5))
    assert torch.equal(faces.int(), pack["dense_faces_48"])
    whole = dense_faces(256, 256, (2, 5))
    assert len(whole) == int(pack["dense_faces_256.count"])
    assert torch.equal(torch.cat([whole[:8], whole[-8:]]).int(), pack["dense_faces_256.first8_last8"])
    position, normal, mask = pack["uv_position"], pack["uv_normal"], pack["uv_mask"]
    moved = displaced(position, normal, pack["uv_z"], mask, pack["fixed_dis"])
    assert_near(moved, pack["detail_position"])
    found = blended_normals(moved, normal, mask, faces, official=True)
    assert_near(found, pack["detail_normal"])
    shading = shade_sh(found.permute(0, 2, 3, 1), pack["light"]).permute(0, 3, 1, 2)
    assert_near(shading, pack["uv_shading"])
    assert_near(pack["uv_z"] + pack["fixed_dis"], pack["export_displacement"])


def test_official_export_forgets_the_mask_and_the_clean_one_does_not(head: HeadModel) -> None:
    z, fixed = torch.full((1, 1, 32, 32), 0.002), torch.full((32, 32), 0.001)
    mask = torch.zeros(32, 32)
    mask[8:24, 8:24] = 1
    clean = UvSurface(head, 32, mask=mask, fixed=fixed)
    official = UvSurface(head, 32, mask=mask, fixed=fixed, official=True)
    torch.testing.assert_close(clean.exported(z)[0, 0], 0.001 + 0.002 * mask)
    torch.testing.assert_close(official.exported(z), z + 0.001)


def test_unwrapped_surface_keeps_its_normals(head: HeadModel, surface: UvSurface) -> None:
    position, normal = surface.maps(head.v_template[None])
    fine = surface.normals(position, normal)
    inside = (surface.mask[0, 0] > 0.99) & (surface.face_index[0] >= 0)
    assert 0.1 < float(inside.float().mean()) < 0.6
    cosine = (fine * normal).sum(1)[0][inside]
    assert float(cosine.median()) > 0.995 and float((cosine > 0.9).float().mean()) > 0.95
    torch.testing.assert_close(fine[0].norm(dim=0)[inside], torch.ones(int(inside.sum())))
    outside = surface.mask[0, 0] == 0
    torch.testing.assert_close(fine[0][:, outside], normal[0][:, outside])


def test_a_bump_tilts_normals_as_its_slope_says() -> None:
    side, step, wave = 64, 0.001, 16
    axis = torch.arange(side, dtype=torch.float64) * step
    position = torch.stack(
        [axis.expand(side, side), -axis[:, None].expand(side, side), torch.zeros(side, side)]
    )[None]
    normal = torch.tensor([0.0, 0, 1], dtype=torch.float64)[None, :, None, None].expand(1, 3, side, side)
    height = 0.0005 * torch.sin(2 * torch.pi * torch.arange(side) / wave).expand(1, 1, side, side).double()
    mask = torch.ones(1, 1, side, side, dtype=torch.float64)
    found = blended_normals(displaced(position, normal, height, mask), normal, mask, dense_faces(side, side))
    slope = (
        0.0005 * 2 * torch.pi / (wave * step) * torch.cos(2 * torch.pi * torch.arange(side) / wave).double()
    )
    tilt = torch.atan(-found[0, 0] / found[0, 2])[2:-2, 2:-2]
    torch.testing.assert_close(-tilt, torch.atan(-slope)[2:-2].expand(60, 60), atol=0.01, rtol=0)


def test_gradients_reach_the_displacement() -> None:
    torch.manual_seed(0)
    axis = torch.arange(8, dtype=torch.float64)
    position = torch.stack([axis.expand(8, 8), -axis[:, None].expand(8, 8), torch.rand(8, 8).double()])[None]
    normal = torch.nn.functional.normalize(
        torch.rand(1, 3, 8, 8, dtype=torch.float64) + torch.tensor([0, 0, 2.0])[None, :, None, None], dim=1
    )
    mask = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    faces = dense_faces(8, 8)

    def run(z: torch.Tensor) -> torch.Tensor:
        return blended_normals(displaced(position, normal, z, mask), normal, mask, faces)

    z = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (z,), fast_mode=True)


def test_detailed_mesh_moves_by_the_map_and_stays_closed(head: HeadModel, surface: UvSurface) -> None:
    z = torch.full((1, 128, 128), 0.003) * surface.mask[0]
    mesh = detailed_mesh(head, head.v_template, z, levels=1)
    flat = detailed_mesh(head, head.v_template, torch.zeros_like(z), levels=1)
    assert len(mesh.faces) == 4 * len(head.topology.faces)
    np.testing.assert_allclose(flat.vertices[: head.n_vertices], head.v_template.numpy(), atol=1e-7)
    moved = np.linalg.norm(mesh.vertices - flat.vertices, axis=1)
    inner = head.topology.masks["nose"].numpy()
    assert abs(np.median(moved[inner]) - 0.003) < 1e-4
    assert moved[head.topology.masks["neck"].numpy()].max() < 1e-6
    outward = vertex_normals(head.v_template, head.topology.faces).numpy()
    assert ((mesh.vertices - flat.vertices)[inner] * outward[inner]).sum(1).min() > 0
    assert len(boundary_edges(mesh.faces)) == 2 * len(boundary_edges(head.topology.faces.numpy()))


def test_subdivision_keeps_surface_area_and_orientation() -> None:
    vertices = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 1]])
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    fine = subdivide(faces, 4)
    points = fine.carry(vertices)
    assert len(points) == 4 + len(edges(faces)) and len(fine.faces) == 8
    assert np.array_equal(points[:4], vertices)

    def cross(v: np.ndarray, f: np.ndarray) -> np.ndarray:
        return np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])

    np.testing.assert_allclose(cross(points, fine.faces)[:4], np.repeat(cross(vertices, faces)[:1] / 4, 4, 0))
    np.testing.assert_allclose(cross(points, fine.faces).reshape(2, 4, 3).sum(1), cross(vertices, faces))


def test_a_head_without_texture_coordinates_is_refused(head: HeadModel) -> None:
    bare = head.shared_copy()
    bare.topology = bare.topology.map(lambda value: value)
    object.__setattr__(bare.topology, "uv", torch.zeros(0, 2))
    with pytest.raises(AssetError, match="no texture coordinates"):
        UvSurface(bare, 32)
