"""Normals: parity with DECA's, gradients, equivariance, degenerate faces."""

import numpy as np
import torch
from mesh_shapes import load_pack, symmetric_patch

from facezoo.mesh import face_normals, vertex_normals


def patch(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    vertices, faces = symmetric_patch(5)
    return torch.tensor(vertices, dtype=dtype), torch.tensor(faces)


def test_vertex_normals_equal_deca() -> None:
    pack = load_pack("deca-losses")
    vertices = torch.from_numpy(pack["vn_vertices"])
    normals = vertex_normals(vertices, torch.from_numpy(pack["vn_faces"]).long())
    torch.testing.assert_close(normals, torch.from_numpy(pack["vn_normals"]), atol=1e-5, rtol=0)


def test_normals_point_to_the_side_that_sees_faces_counter_clockwise() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]])
    faces = torch.tensor([[0, 1, 2]])
    torch.testing.assert_close(face_normals(vertices, faces), torch.tensor([[0.0, 0, 1]]))
    torch.testing.assert_close(face_normals(vertices, faces, unit=False), torch.tensor([[0.0, 0, 4]]))
    torch.testing.assert_close(vertex_normals(vertices, faces), torch.tensor([[0.0, 0, 1]]).expand(3, 3))


def test_bigger_faces_count_more() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [0, 3, 0], [0, 0, 1], [1, 0, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 3, 1]])  # areas 1.5 facing +x, 1.5 facing +z
    shared = vertex_normals(vertices * torch.tensor([4.0, 1, 1]), faces)[0]
    torch.testing.assert_close(shared, torch.tensor([1.0, 0, 4]) / 17**0.5)


def test_equivariance_and_batch() -> None:
    vertices, faces = patch()
    turn = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0]
    turn = turn * torch.det(turn)
    batch = torch.stack([vertices, vertices @ turn.T * 3 + 1]).requires_grad_()
    straight, turned = vertex_normals(batch, faces)
    torch.testing.assert_close(turned, straight @ turn.T)
    torch.testing.assert_close(straight.norm(dim=-1), torch.ones(len(vertices), dtype=torch.float64))


def test_small_faces_still_have_unit_normals_in_float32() -> None:
    vertices, faces = patch(torch.float32)
    normals = vertex_normals(vertices * 1e-3, faces)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(len(vertices)))


def test_gradients() -> None:
    vertices, faces = patch()
    vertices = vertices.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v * 10, faces), (vertices,), fast_mode=True)
    assert torch.autograd.gradcheck(lambda v: face_normals(v * 10, faces), (vertices,), fast_mode=True)


def test_degenerate_faces_and_unused_vertices_give_zero_and_finite_gradients() -> None:
    vertices = torch.tensor(np.eye(4, 3), dtype=torch.float32, requires_grad=True)
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 1]]))
    assert not normals.any()
    normals.sum().backward()
    assert vertices.grad is not None and torch.isfinite(vertices.grad).all()
