"""Spirals: parity with SpiralNet++, structure, errors."""

import numpy as np
import pytest
from mesh_shapes import load_pack, symmetric_patch

from facezoo.errors import InputError
from facezoo.mesh import spiral_indices
from facezoo.mesh.topology import one_rings


@pytest.mark.parametrize(
    ("mesh", "length", "dilation"),
    [(m, n, d) for m in ("sphere", "open") for n in (9, 12) for d in (1, 2)]
    + [("two", 12, 1), ("two", 12, 4)],
)
def test_indices_equal_the_reference(mesh: str, length: int, dilation: int) -> None:
    pack = load_pack("spiral")
    table = spiral_indices(pack[f"{mesh}.v"], pack[f"{mesh}.f"], length, dilation)
    np.testing.assert_array_equal(table, pack[f"spiral.{mesh}.L{length}.d{dilation}"])


def test_auto_encoder_levels_equal_the_reference() -> None:
    pack = load_pack("spiral")
    np.testing.assert_array_equal(spiral_indices(pack["deci.v"], pack["deci.f"], 9), pack["ae.spiral0"])
    np.testing.assert_array_equal(spiral_indices(pack["deci.v1"], pack["deci.f1"], 9), pack["ae.spiral1"])


def test_a_spiral_starts_with_the_vertex_and_its_ring_and_repeats_nothing() -> None:
    vertices, faces = symmetric_patch(9)
    table = spiral_indices(vertices, faces, 30)
    rings = one_rings(faces, len(vertices))
    for v, row in enumerate(table.tolist()):
        assert row[0] == v and row[1 : 1 + len(rings[v])] == rings[v]
        assert len(set(row)) == 30
    np.testing.assert_array_equal(spiral_indices(vertices, faces, 10, 3), table[:, ::3])


def test_a_small_component_is_replaced_by_nearest_neighbours() -> None:
    vertices, faces = symmetric_patch(3)
    both = np.concatenate([vertices, vertices + [0, 0, 0.5]])
    table = spiral_indices(both, np.concatenate([faces, faces + 9]), 12)
    distance = np.linalg.norm(both[table] - both[:, None], axis=-1)
    assert (table[:, 0] == np.arange(18)).all()
    assert (np.diff(distance, axis=1) >= -1e-12).all()
    nearest = np.sort(np.linalg.norm(both[:, None] - both[None], axis=-1), axis=1)[:, :12]
    np.testing.assert_allclose(distance, nearest)


def test_errors() -> None:
    vertices, faces = symmetric_patch(3)
    with pytest.raises(InputError, match="needs 10 vertices, there are 9"):
        spiral_indices(vertices, faces, 10)
    with pytest.raises(InputError, match="at least 1"):
        spiral_indices(vertices, faces, 0)
    with pytest.raises(InputError, match=r"shape \(V, 3\)"):
        spiral_indices(vertices[:, :2], faces, 5)
