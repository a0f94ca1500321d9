"""Connectivity: parity of one-rings, boundaries, components, symmetry, refusal of broken meshes."""

import numpy as np
import pytest
from mesh_shapes import load_pack, symmetric_patch

from facezoo.errors import InputError
from facezoo.mesh import topology


@pytest.mark.parametrize("mesh", ["open", "sphere"])
def test_one_rings_equal_openmesh(mesh: str) -> None:
    pack = load_pack("spiral")
    rings = topology.one_rings(pack[f"{mesh}.f"], len(pack[f"{mesh}.v"]))
    assert rings == [row[row >= 0].tolist() for row in pack[f"one_ring.{mesh}"]]


def test_rings_of_two_fans_hold_every_neighbour_once() -> None:
    faces = [[0, 1, 2], [0, 3, 4], [0, 4, 5]]  # two fans that touch in vertex 0
    assert topology.one_rings(faces, 7)[0] == [5, 4, 3, 2, 1]
    assert topology.one_rings(faces, 7)[6] == []


@pytest.mark.parametrize(
    ("faces", "text"),
    [
        ([[0, 1, 1]], "face 0 .* uses vertex 1 twice"),
        ([[0, 1, 2], [0, 1, 3]], "faces 0 and 1 both run along the edge 0 -> 1"),
        ([[0, 1, 9]], "vertex id 9, but there are only 4"),
        ([[0, 1, -1]], "negative vertex id -1"),
        ([[0, 1]], r"shape \(F, 3\)"),
        ([[0.0, 1.0, 2.0]], "integers"),
    ],
)
def test_broken_faces_are_named(faces: list, text: str) -> None:
    with pytest.raises(InputError, match=text):
        topology.one_rings(faces, 4)


def test_edges_satisfy_euler() -> None:
    vertices, faces = symmetric_patch(9)
    pairs = topology.edges(faces)
    assert len(vertices) - len(pairs) + len(faces) == 1  # a disc
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(topology.boundary_edges(faces)) == 4 * 8


def test_boundary_loops_are_closed_and_ordered() -> None:
    _, faces = symmetric_patch(9)
    hole = np.flatnonzero((faces == 3 * 9 + 4).any(axis=1))  # take the star of one vertex out
    loops = topology.boundary_loops(np.delete(faces, hole, axis=0))
    assert [len(loop) for loop in loops] == [32, len(hole)]
    directed = {tuple(edge) for edge in topology.boundary_edges(np.delete(faces, hole, axis=0)).tolist()}
    walked = {(int(a), int(b)) for loop in loops for a, b in zip(loop, np.roll(loop, -1), strict=True)}
    assert walked == directed
    assert all(loop[0] == loop.min() for loop in loops)


def test_loops_that_touch_are_kept_apart() -> None:
    loops = topology.boundary_loops([[0, 1, 2], [0, 3, 4]])
    assert sorted(sorted(loop.tolist()) for loop in loops) == [[0, 1, 2], [0, 3, 4]]
    assert topology.boundary_loops(np.zeros((0, 3), int)) == []


def test_restrict_faces_renumbers() -> None:
    local = topology.restrict_faces([[0, 1, 2], [2, 1, 3], [3, 4, 2]], [3, 2, 1])
    assert local.tolist() == [[1, 2, 0]]
    with pytest.raises(InputError, match="twice"):
        topology.restrict_faces([[0, 1, 2]], [1, 1])


def test_components_are_numbered_by_first_vertex() -> None:
    assert topology.components([[1, 3, 5], [0, 2, 4]], 7).tolist() == [0, 1, 0, 1, 0, 1, 2]
    assert topology.unused_vertices([[1, 3, 5], [0, 2, 4]], 7).tolist() == [6]


def test_mirror_pairs() -> None:
    vertices, _ = symmetric_patch(7)
    partner = topology.mirror_pairs(vertices)
    np.testing.assert_allclose(vertices[partner], vertices * [-1, 1, 1], atol=1e-12)
    vertices[3, 1] += 0.01
    with pytest.raises(InputError, match="vertices have no mirror image"):
        topology.mirror_pairs(vertices)
