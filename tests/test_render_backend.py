"""The choice of rasteriser, its optional second, and the benchmark."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from render_meshes import ball

from facezoo.errors import InputError, UnknownNameError
from facezoo.render import choose_rasterizer, rasterize
from facezoo.render.bench import bench_render, ellipsoid
from facezoo.render.threads import one_thread

WITH_PYTORCH3D = importlib.util.find_spec("pytorch3d") is not None


def test_ours_is_the_default() -> None:
    assert choose_rasterizer() is rasterize
    assert choose_rasterizer("torch") is rasterize


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="pytorch3d"):
        choose_rasterizer("pytorch3")


@pytest.mark.skipif(WITH_PYTORCH3D, reason="pytorch3d is installed")
def test_a_missing_pytorch3d_is_explained() -> None:
    with pytest.raises(InputError, match="pip install"):
        choose_rasterizer("pytorch3d")


@pytest.mark.skipif(not WITH_PYTORCH3D, reason="pytorch3d is not installed")
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
@pytest.mark.parametrize("cull", [False, True])
def test_pytorch3d_conforms(size: tuple[int, int], cull: bool) -> None:
    vertices, faces, _ = ball(batch=2, size=64)
    vertices[1, 5, 2] = -1.0
    results = []
    for name in ("torch", "pytorch3d"):
        leaf = vertices.clone().requires_grad_()
        seen = choose_rasterizer(name)(leaf, faces, size, cull_backfaces=cull)
        (seen.bary[..., 0] + seen.depth).sum().backward()
        results.append((seen, leaf.grad))
    (ours, our_gradient), (theirs, their_gradient) = results
    same = ours.face_index == theirs.face_index
    assert same.float().mean() > 0.995
    torch.testing.assert_close(ours.bary[same], theirs.bary[same], atol=1e-3, rtol=0)
    torch.testing.assert_close(ours.depth[same], theirs.depth[same], atol=1e-4, rtol=0)
    assert (our_gradient - their_gradient).abs().mean() < 0.05 * our_gradient.abs().mean()


def test_the_bench_mesh_is_closed_and_turned_outwards() -> None:
    vertices, faces = ellipsoid()
    assert faces.shape == (9976, 3)
    a, b, c = vertices[faces].unbind(1)
    assert ((torch.linalg.cross(b - a, c - a) * (a + b + c)).sum(-1) > 0).all()
    edges = torch.cat((faces[:, :2], faces[:, 1:], faces[:, [2, 0]]))
    ordered, counts = edges.sort(-1).values.unique(dim=0, return_counts=True)
    assert (counts == 2).all()
    assert len(vertices) - len(ordered) + len(faces) == 2


def test_the_bench_measures() -> None:
    before = torch.get_num_threads()
    result = bench_render(batch=2, size=48, threads=1, repeats=1)
    assert torch.get_num_threads() == before
    assert result["faces"] == 9976
    assert 0.1 < result["coverage"] < 0.9
    assert min(result["forward_ms"], result["culled_ms"], result["forward_backward_ms"]) > 0
    assert result["images_per_second"] == pytest.approx(1000 / result["forward_ms"])


def test_the_number_of_threads_comes_back_even_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(IndexError), one_thread():
            torch.zeros(1)[2]
        assert torch.get_num_threads() == 2
        with one_thread(False):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
