"""Decimation, sampling matrices, closest points and nested subsets."""

import numpy as np
import pytest
from mesh_shapes import load_pack, symmetric_patch

from facezoo.errors import InputError, UnknownNameError
from facezoo.mesh import nested_subsets, quadric_decimation, upsampling
from facezoo.mesh.closest import closest_points
from facezoo.mesh.decimation import vertex_quadrics
from facezoo.mesh.topology import boundary_loops, edges, mirror_pairs, one_rings, unused_vertices


def dense(up, n_coarse: int) -> np.ndarray:
    matrix = np.zeros((len(up.corners), n_coarse))
    np.add.at(matrix, (np.arange(len(matrix))[:, None], up.corners), up.weight)
    return matrix


def test_quadrics_equal_the_reference() -> None:
    pack = load_pack("spiral")
    np.testing.assert_allclose(
        vertex_quadrics(pack["deci.v"], pack["deci.f"]), pack["deci.quadrics0"], atol=1e-6
    )


@pytest.mark.parametrize(("level", "factor"), [(0, 4), (1, 2)])
def test_matrices_equal_the_reference(level: int, factor: int) -> None:
    pack = load_pack("spiral")
    suffix = "" if level == 0 else str(level)
    vertices, faces = pack[f"deci.v{suffix}"], pack[f"deci.f{suffix}"]
    coarse = quadric_decimation(vertices, faces, -(-len(vertices) // factor))
    np.testing.assert_array_equal(coarse.kept, pack[f"deci.D{level}.col"])
    np.testing.assert_array_equal(coarse.faces, pack[f"deci.f{level + 1}"])
    expected = np.zeros(pack[f"deci.U{level}.shape"])
    expected[pack[f"deci.U{level}.row"], pack[f"deci.U{level}.col"]] = pack[f"deci.U{level}.val"]
    official = upsampling(vertices, vertices[coarse.kept], coarse.faces, compat="official")
    np.testing.assert_allclose(dense(official, len(coarse.kept)), expected, atol=1e-6)
    if level == 0:
        values = pack["ae.unpool0.x"][0]
        np.testing.assert_allclose(official.apply(values), pack["ae.unpool0"][0], atol=1e-5)


def test_clean_upsampling_is_affine() -> None:
    vertices, faces = symmetric_patch(11)
    coarse = quadric_decimation(vertices, faces, 40)
    up = upsampling(vertices, vertices[coarse.kept], coarse.faces)
    np.testing.assert_allclose(up.weight.sum(axis=1), 1, atol=1e-12)
    assert (up.weight >= -1e-12).all()
    np.testing.assert_allclose(
        up.apply(vertices[coarse.kept])[coarse.kept], vertices[coarse.kept], atol=1e-12
    )
    moved = upsampling(vertices + 5, vertices[coarse.kept] + 5, coarse.faces)
    np.testing.assert_allclose(dense(moved, 40), dense(up, 40), atol=1e-9)
    with pytest.raises(UnknownNameError, match="Did you mean 'official'"):
        upsampling(vertices, vertices[coarse.kept], coarse.faces, compat="offical")  # type: ignore[arg-type]


def test_decimation_refuses_what_it_cannot_do() -> None:
    vertices, faces = symmetric_patch(3)
    with pytest.raises(InputError, match="at least 3"):
        quadric_decimation(vertices, faces, 2)
    vertices[4, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        quadric_decimation(vertices, faces, 5)


def test_decimation_counts_what_faces_use() -> None:
    vertices, faces = symmetric_patch(13)
    for target in (150, 60, 9):
        kept, coarse = quadric_decimation(vertices, faces, target)
        assert len(kept) <= target and (np.diff(kept) > 0).all()
        assert len(unused_vertices(coarse, len(kept))) == 0


def test_closest_points_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    vertices, faces = symmetric_patch(7)
    queries = np.concatenate([rng.normal(size=(200, 3)) * 0.1, vertices, vertices[faces].mean(axis=1)])
    hit = closest_points(queries, vertices, faces)
    np.testing.assert_allclose(hit.bary.sum(axis=1), 1, atol=1e-12)
    assert (hit.bary >= 0).all()
    np.testing.assert_allclose(
        np.einsum("nk,nkd->nd", hit.bary, vertices[faces[hit.face]]), hit.point, atol=1e-12
    )
    np.testing.assert_allclose(hit.distance[200:], 0, atol=1e-9)
    assert set(hit.part[200 : 200 + len(vertices)]) <= {4, 5, 6}
    # No sample of any triangle is closer than the answer.
    grid = np.array([(i, j, 12 - i - j) for i in range(13) for j in range(13 - i)]) / 12
    samples = np.einsum("gk,fkd->fgd", grid, vertices[faces]).reshape(-1, 3)
    sampled = np.linalg.norm(queries[:, None] - samples[None], axis=-1).min(axis=1)
    assert (hit.distance <= sampled + 1e-12).all()
    spacing = np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).max() / 12
    assert (hit.distance >= sampled - 2 * spacing).all()


def test_closest_points_equal_trimesh() -> None:
    trimesh = pytest.importorskip("trimesh")
    vertices, faces = symmetric_patch(9)
    queries = np.random.default_rng(1).normal(size=(100, 3)) * 0.1
    hit = closest_points(queries, vertices, faces)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    candidates = [np.arange(len(faces))] * len(queries)
    triangles = mesh.triangles[np.concatenate(candidates)]
    points = trimesh.triangles.closest_point(triangles, np.repeat(queries, len(faces), axis=0))
    distance = np.linalg.norm(points.reshape(100, -1, 3) - queries[:, None], axis=-1).min(axis=1)
    np.testing.assert_allclose(hit.distance, distance, atol=1e-10)


def test_closest_points_errors() -> None:
    vertices, faces = symmetric_patch(3)
    with pytest.raises(InputError, match="not finite"):
        closest_points([[0, 0, np.nan]], vertices, faces)
    with pytest.raises(InputError, match="no face"):
        closest_points([[0, 0, 0]], vertices, np.zeros((0, 3), int))
    with pytest.raises(InputError, match=r"points must have shape \(N, 3\)"):
        closest_points([0, 0, 0], vertices, faces)


@pytest.mark.parametrize("uniformity", [0.0, 0.05, 1.0])
def test_subsets_are_exact_nested_symmetric_and_manifold(uniformity: float) -> None:
    vertices, faces = symmetric_patch(15)
    mirror = mirror_pairs(vertices)
    keep = [0, 30, 112]
    sizes = [225, 150, 101, 60, 31]
    subsets = nested_subsets(vertices, faces, sizes, keep=keep, mirror=mirror, uniformity=uniformity)
    assert list(subsets) == sizes
    larger = set(range(len(vertices)))
    for size, (kept, coarse) in subsets.items():
        assert len(kept) == size and (np.diff(kept) > 0).all()
        assert set(kept.tolist()) <= larger and set(keep) <= set(kept.tolist())
        larger = set(kept.tolist())
        assert set(mirror[kept].tolist()) == larger
        assert {frozenset(f) for f in kept[coarse].tolist()} == {
            frozenset(f) for f in mirror[kept[coarse]].tolist()
        }
        one_rings(coarse, size)  # raises unless manifold
        assert size - len(edges(coarse)) + len(coarse) == 1  # still a disc
        assert len(boundary_loops(coarse)) == 1 and len(unused_vertices(coarse, size)) == 0
        corners = vertices[kept[coarse]]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert (normal[:, 2] > 0).all()  # nothing folded


def test_subsets_of_a_region() -> None:
    vertices, faces = symmetric_patch(15)
    region = np.flatnonzero(vertices[:, 1] < 0.03)
    subsets = nested_subsets(vertices, faces, [len(region), 40], region=region)
    assert subsets[len(region)].kept.tolist() == region.tolist()
    assert set(subsets[40].kept.tolist()) <= set(region.tolist())
    corners = {tuple(v) for v in np.round(vertices[subsets[40].kept][:, :2], 3).tolist()}
    assert {(-0.08, -0.1), (0.08, -0.1)} <= corners  # the outline stays in place


def test_flat_areas_thin_out_first() -> None:
    vertices, faces = symmetric_patch(15)
    vertices = vertices * [1, 1, 0]
    vertices[112, 2] = 0.05  # one spike on a plane
    kept = nested_subsets(vertices, faces, [40], uniformity=0.0)[40].kept
    assert 112 in kept


def test_subset_errors() -> None:
    vertices, faces = symmetric_patch(5)
    with pytest.raises(InputError, match="sizes must lie between 3 and the 25"):
        nested_subsets(vertices, faces, [26])
    with pytest.raises(InputError, match="must be kept, more than"):
        nested_subsets(vertices, faces, [4], keep=range(5))
    with pytest.raises(InputError, match="keep holds 1 vertices outside the region"):
        nested_subsets(vertices, faces, [4], region=range(15), keep=[20])
    with pytest.raises(InputError, match="belong to no face"):
        nested_subsets(vertices, faces, [4], region=[*range(10), 24])
    with pytest.raises(InputError, match="involution"):
        nested_subsets(vertices, faces, [4], mirror=np.roll(np.arange(25), 1))
    with pytest.raises(InputError, match="mirror image of the region"):
        nested_subsets(vertices, faces, [4], region=range(15), mirror=mirror_pairs(vertices))
    ring = np.setdiff1d(np.arange(25), [12])  # a disc with a hole: two loops of at least three vertices
    assert len(nested_subsets(vertices, faces, [9], region=ring)[9].kept) == 9
    with pytest.raises(InputError, match=r"thinning stops at [67] vertices, 5 cannot be reached"):
        nested_subsets(vertices, faces, [5], region=ring)
