"""The rasteriser: right, watertight, differentiable, repeatable, and calm about bad input."""

from __future__ import annotations

import math

import pytest
import torch
from render_meshes import ball, project, reference, soup, split_square

from facezoo.errors import InputError
from facezoo.render import Fragments, rasterize, rasterize_depth, scanline

SIZE = (26, 30)


def equal(a: Fragments, b: Fragments) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_a_slow_reference(dtype: torch.dtype) -> None:
    vertices, faces = soup(batch=2)
    seen = rasterize(vertices.to(dtype), faces, SIZE)
    for image in range(2):
        face, bary, depth, clear = reference(vertices[image], faces, SIZE)
        assert clear.float().mean() > 0.95
        assert torch.equal(seen.face_index[image][clear], face[clear])
        assert (face >= 0).any()
        assert (face < 0).any()
        same = seen.face_index[image] == face
        torch.testing.assert_close(seen.bary[image][same].double(), bary[same], atol=1e-5, rtol=0)
        torch.testing.assert_close(seen.depth[image][same].double(), depth[same], atol=1e-5, rtol=0)


def test_empty_pixels_are_marked_and_zero() -> None:
    vertices, faces = soup()
    seen = rasterize(vertices, faces, SIZE)
    empty = seen.face_index < 0
    assert empty.any()
    assert torch.equal(seen.face_index[empty], torch.full((int(empty.sum()),), -1))
    assert (seen.bary[empty] == 0).all()
    assert (seen.depth[empty] == 0).all()
    assert (seen.bary >= 0).all()
    torch.testing.assert_close(seen.bary[~empty].sum(-1), torch.ones(int((~empty).sum())))


@pytest.mark.parametrize("seed", range(4))
def test_a_split_square_is_covered_once_and_without_holes(seed: int) -> None:
    flat, faces = split_square(seed=seed)
    vertices = torch.cat((flat, torch.ones(len(flat), 1)), -1).unsqueeze(0)
    seen = rasterize(vertices, faces, (32, 32)).face_index[0]
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[2:30, 2:30] = True
    assert torch.equal(seen >= 0, inside)
    # Drawn one at a time, the triangles share no pixel.
    times = sum((rasterize(vertices, face[None], (32, 32)).face_index[0] >= 0).long() for face in faces)
    assert torch.equal(times, inside.long())


def test_a_sphere_has_no_holes() -> None:
    vertices, faces, _ = ball(batch=4, size=96)
    covered = rasterize(vertices, faces, (96, 96)).face_index >= 0
    for image in covered:
        rows = image.nonzero()
        assert rows.numel()
        for y in rows[:, 0].unique():
            line = image[y].nonzero()
            assert line.numel() == line.max() - line.min() + 1
    # A sphere of radius 1 at distance 4 has the outline tan(asin(1 / 4)).
    radius = 1.6 * 96 * math.tan(math.asin(0.25))
    area = covered.float().sum((1, 2))
    torch.testing.assert_close(area, torch.full_like(area, math.pi * radius**2), rtol=0.015, atol=0)


def test_gradients_are_those_of_finite_differences() -> None:
    vertices, faces = soup(batch=2, vertices=20, faces=14)
    vertices = vertices.double().requires_grad_()
    mixture = torch.rand(12, 2 * 13 * 15 * 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def mixed(points: torch.Tensor) -> torch.Tensor:
        seen = rasterize(points * points.new_tensor((0.5, 0.5, 1.0)), faces, (13, 15))
        return mixture @ torch.cat((seen.bary, seen.depth.unsqueeze(-1)), -1).view(-1)

    assert torch.autograd.gradcheck(mixed, (vertices,), eps=1e-7, atol=1e-4, nondet_tol=0.0)


def test_one_image_is_drawn_as_in_a_batch_and_in_any_order() -> None:
    vertices, faces = soup(batch=5)
    together = rasterize(vertices, faces, SIZE)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert equal(rasterize(vertices[order], faces, SIZE), Fragments(*(part[order] for part in together)))
    assert equal(rasterize(vertices[2], faces, SIZE), Fragments(*(part[2:3] for part in together)))


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = soup(batch=5)

    def everything() -> tuple[Fragments, torch.Tensor]:
        leaf = vertices.clone().requires_grad_()
        seen = rasterize(leaf, faces, SIZE)
        seen.bary.square().sum().backward()
        return Fragments(*(part.detach() for part in seen)), leaf.grad

    whole, gradient = everything()
    monkeypatch.setattr("facezoo.render.rasterizer._CPU_TRIANGLES", 2 * len(faces))
    monkeypatch.setattr(scanline, "_AT_ONCE", 500)
    parts, gradient_of_parts = everything()
    assert equal(whole, parts)
    torch.testing.assert_close(gradient, gradient_of_parts)


def test_two_runs_and_other_thread_counts_give_the_same_bits() -> None:
    vertices, faces, _ = ball(batch=3, size=80)
    before = torch.get_num_threads()
    first = rasterize(vertices, faces, (80, 80))
    try:
        torch.set_num_threads(3 - min(before, 2))
        assert equal(first, rasterize(vertices, faces, (80, 80)))
    finally:
        torch.set_num_threads(before)
    assert torch.get_num_threads() == before


def test_equal_depths_go_to_the_lowest_face() -> None:
    square = torch.tensor([[[2.0, 2, 1], [2, 20, 1], [20, 2, 1], [20, 20, 1]]])
    once = torch.tensor([[0, 1, 2], [2, 1, 3]])
    single = rasterize(square, once, (24, 24)).face_index
    twice = rasterize(square, torch.cat((once, once, once.flip(0))), (24, 24)).face_index
    assert torch.equal(single, twice)


def test_the_nearer_of_two_intersecting_triangles_wins_on_either_side() -> None:
    vertices = torch.tensor([[[0.0, 0, 1], [0, 32, 1], [32, 16, 3], [32, 0, 1], [32, 32, 1], [0, 16, 3]]])
    seen = rasterize(vertices, torch.tensor([[0, 1, 2], [3, 5, 4]]), (32, 32)).face_index[0]
    assert (seen[16, :15] == 0).all()
    assert (seen[16, 17:] == 1).all()


@pytest.mark.parametrize("scale", [1.0, 7.3])
def test_faces_turned_away_can_be_dropped(scale: float) -> None:
    vertices, faces, _ = ball(size=64)
    vertices = vertices * torch.tensor([1.0, 1.0, scale])
    both = rasterize(vertices, faces, (64, 64))
    front = rasterize(vertices, faces, (64, 64), cull_backfaces=True)
    assert torch.equal(both.face_index, front.face_index)  # a closed surface hides its own back
    inner = rasterize(vertices, faces.flip(1), (64, 64), cull_backfaces=True)
    covered = both.face_index >= 0
    assert (inner.depth[covered] >= both.depth[covered]).all()
    assert (inner.depth[covered] > both.depth[covered] * 1.01).float().mean() > 0.9


@pytest.mark.parametrize(
    "bad", [(math.nan, 5.0, 1.0), (5.0, math.inf, 1.0), (5.0, 5.0, 0.0), (5.0, 5.0, -1.0), (5.0, 5.0, math.nan),
            (5.0, 5.0, math.inf), (-math.nan, -math.nan, 1.0), (1e30, 5.0, 1.0)]
)  # fmt: skip
def test_faces_at_an_invalid_vertex_are_dropped_and_harm_nothing(bad: tuple[float, float, float]) -> None:
    vertices, faces = soup(batch=2)
    vertices[1, 7] = torch.tensor(bad)
    kept = (faces != 7).all(-1)
    assert not kept.all()
    expected = rasterize(vertices, faces[kept], SIZE)
    leaf = vertices.clone().requires_grad_()
    seen = rasterize(leaf, faces, SIZE)
    index = kept.nonzero().view(-1)[expected.face_index[1].clamp(min=0)]
    assert torch.equal(seen.face_index[1], torch.where(expected.face_index[1] >= 0, index, -1))
    (seen.bary.sum(-1) * 0.3 + seen.bary[..., 0] + seen.depth).sum().backward()
    assert torch.isfinite(leaf.grad).all()
    assert (leaf.grad[1, 7] == 0).all()


def test_degenerate_faces_are_dropped() -> None:
    vertices = torch.tensor([[[1.0, 1, 1], [9, 1, 1], [17, 1, 1], [1, 9, 1]]])
    faces = torch.tensor([[0, 1, 2], [0, 0, 3], [3, 3, 3]])
    assert (rasterize(vertices, faces, (20, 20)).face_index == -1).all()


def test_large_and_far_triangles_cover_everything() -> None:
    vertices = torch.tensor([[[-9e5, -9e5, 2.0], [-9e5, 9e5, 2.0], [9e5, 0.0, 2.0]]])
    seen = rasterize(vertices, torch.tensor([[0, 1, 2]]), (33, 65))
    assert (seen.face_index == 0).all()
    torch.testing.assert_close(seen.depth, torch.full((1, 33, 65), 2.0))


@pytest.mark.parametrize("size", [(1, 1), (3, 100), (100, 3), (64, 64), (37, 129)])
def test_every_image_size_shows_the_same_scene(size: tuple[int, int]) -> None:
    vertices, faces, _ = ball(size=64)
    big = rasterize(vertices, faces, (160, 160))
    seen = rasterize(vertices, faces, size)
    for part, whole in zip(seen, big, strict=True):
        assert torch.equal(part, whole[:, : size[0], : size[1]])


def test_the_depth_buffer_alone_agrees() -> None:
    vertices, faces, _ = ball(batch=2, size=64)
    depth = rasterize(vertices, faces, (64, 64)).depth
    nearness = rasterize_depth(vertices, faces, (64, 64))
    assert torch.equal(depth > 0, nearness > 0)
    torch.testing.assert_close(nearness[depth > 0].reciprocal(), depth[depth > 0], rtol=1e-4, atol=0)


@pytest.mark.parametrize(("batch", "faces"), [(0, 5), (2, 0)])
def test_nothing_to_draw_gives_empty_images(batch: int, faces: int) -> None:
    vertices = torch.rand(batch, 6, 3, requires_grad=True)
    index = torch.arange(3).expand(faces, 3)
    seen = rasterize(vertices, index, (4, 5))
    assert seen.bary.shape == (batch, 4, 5, 3)
    assert (seen.face_index == -1).all()
    seen.depth.sum().backward()
    assert (vertices.grad == 0).all()


def test_perspective_keeps_straight_lines_in_space() -> None:
    camera = torch.tensor([[[-1.0, -1.0, 2.0], [-1.0, 1.0, 2.0], [1.0, 0.0, 6.0]]])
    seen = rasterize(project(camera, 64), torch.tensor([[0, 1, 2]]), (64, 64))
    point = torch.einsum("hwk,kc->hwc", seen.bary[0], camera[0])
    covered = seen.face_index[0] >= 0
    torch.testing.assert_close(point[..., 2][covered], seen.depth[0][covered], rtol=1e-5, atol=0)
    y, x = covered.nonzero().unbind(-1)
    back = project(point[covered].unsqueeze(0), 64)[0]
    torch.testing.assert_close(back[:, :2], torch.stack((x + 0.5, y + 0.5), -1), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("vertices", "faces", "size"),
    [
        (torch.rand(2, 5), torch.zeros(1, 3, dtype=torch.long), (8, 8)),
        (torch.rand(1, 5, 3), torch.zeros(1, 4, dtype=torch.long), (8, 8)),
        (torch.rand(1, 5, 3), torch.zeros(1, 3), (8, 8)),
        (torch.rand(1, 5, 3), torch.tensor([[0, 1, 5]]), (8, 8)),
        (torch.rand(1, 5, 3), torch.tensor([[0, 1, -1]]), (8, 8)),
        (torch.rand(1, 5, 3), torch.tensor([[0, 1, 2]]), (0, 8)),
    ],
)
def test_wrong_arguments_are_named(
    vertices: torch.Tensor, faces: torch.Tensor, size: tuple[int, int]
) -> None:
    with pytest.raises(InputError, match="rasterize: "):
        rasterize(vertices, faces, size)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_agrees_with_the_cpu() -> None:
    vertices, faces, _ = ball(batch=4, size=96)
    results = []
    for device in ("cpu", "cuda"):
        leaf = vertices.to(device).requires_grad_()
        seen = rasterize(leaf, faces.to(device), (96, 96))
        (seen.bary[..., 0] + seen.depth).sum().backward()
        again = rasterize(vertices.to(device), faces.to(device), (96, 96))
        assert torch.equal(seen.face_index, again.face_index)
        results.append((Fragments(*(part.detach().cpu() for part in seen)), leaf.grad.cpu()))
    (cpu, cpu_gradient), (cuda, cuda_gradient) = results
    same = cpu.face_index == cuda.face_index
    assert same.float().mean() > 0.9995
    torch.testing.assert_close(cpu.bary[same], cuda.bary[same], atol=1e-4, rtol=0)
    torch.testing.assert_close(cpu.depth[same], cuda.depth[same], atol=1e-5, rtol=0)
    assert (cpu_gradient - cuda_gradient).abs().mean() < 0.01 * cpu_gradient.abs().mean()
