"""Connectivity of a triangle mesh: edges, circulations, boundary loops, components, symmetric pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from facezoo.errors import InputError

IntArray = NDArray[np.int64]


def check_faces(faces: ArrayLike, n_vertices: int | None = None) -> IntArray:
    """Return ``faces`` as an int64 array ``(F, 3)``, checked.

    Raises:
        InputError: not ``(F, 3)`` integers, or an id outside ``[0, n_vertices)``.
    """
    array = np.asarray(faces)
    if (
        array.ndim != 2
        or array.shape[1] != 3
        or not (np.issubdtype(array.dtype, np.integer) or array.size == 0)
    ):
        raise InputError(f"faces must be integers of shape (F, 3), got {array.dtype} of shape {array.shape}")
    array = array.astype(np.int64)
    if array.size and array.min() < 0:
        raise InputError(f"faces hold the negative vertex id {array.min()}")
    if array.size and n_vertices is not None and array.max() >= n_vertices:
        raise InputError(f"faces hold vertex id {array.max()}, but there are only {n_vertices} vertices")
    return array


def edges(faces: ArrayLike) -> IntArray:
    """List every undirected edge once, as ``(E, 2)`` with the smaller id first, sorted."""
    f = check_faces(faces)
    both = np.sort(np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]), axis=1)
    return np.unique(both, axis=0)


def boundary_edges(faces: ArrayLike) -> IntArray:
    """List the half-edges of faces that have no opposite half-edge, ``(E, 2)``, directed as in the face."""
    f = check_faces(faces)
    half = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
    n = int(f.max()) + 1 if f.size else 1
    lonely = ~np.isin(half[:, 0] * n + half[:, 1], half[:, 1] * n + half[:, 0])
    return half[lonely]


def boundary_loops(faces: ArrayLike) -> list[IntArray]:
    """Chain the boundary into closed loops of vertex ids, longest first.

    Each loop runs in the direction of its faces and starts at its smallest id. Where two holes touch in one
    vertex the loop is closed as early as possible.

    Raises:
        InputError: the boundary does not close, i.e. faces are oriented inconsistently.
    """
    following: dict[int, list[int]] = {}
    for a, b in boundary_edges(faces).tolist():
        following.setdefault(a, []).append(b)
    for ways in following.values():
        ways.sort(reverse=True)  # pop() takes the smallest id first: deterministic
    loops: list[IntArray] = []
    for start in sorted(following):
        while following[start]:
            path = [start]
            position = {start: 0}
            while path:
                ways = following.get(path[-1], [])
                if not ways:
                    raise InputError(
                        f"the boundary stops at vertex {path[-1]}: neighbouring faces disagree in orientation"
                    )
                vertex = ways.pop()
                if vertex not in position:
                    position[vertex] = len(path)
                    path.append(vertex)
                    continue
                cut = position[vertex]
                loop = path[cut:]
                lead = loop.index(min(loop))
                loops.append(np.array(loop[lead:] + loop[:lead], dtype=np.int64))
                for v in loop:
                    del position[v]
                path = path[:cut] + ([vertex] if cut else [])
                if cut:
                    position[vertex] = cut
    return sorted(loops, key=lambda loop: (-len(loop), loop[0]))


def restrict_faces(faces: ArrayLike, vertex_ids: ArrayLike) -> IntArray:
    """Keep the faces with all corners in ``vertex_ids``, renumbered to positions in that list.

    Raises:
        InputError: an id occurs twice.
    """
    f = check_faces(faces)
    ids = np.asarray(vertex_ids, dtype=np.int64)
    if len(np.unique(ids)) != len(ids):
        raise InputError("vertex_ids holds the same vertex twice")
    size = 1 + max(int(f.max()) if f.size else 0, int(ids.max()) if ids.size else 0)
    position = np.full(size, -1, dtype=np.int64)
    position[ids] = np.arange(len(ids))
    local = position[f]
    return local[(local >= 0).all(axis=1)]


def one_rings(faces: ArrayLike, n_vertices: int) -> list[list[int]]:
    """List each vertex's neighbours clockwise, as OpenMesh's vertex circulator does on the same faces.

    If ``(v, a, b)`` is a face, ``b`` comes before ``a``. An interior vertex starts with the vertex that
    follows it in its incident face of highest index, a boundary vertex with the neighbour ``w`` whose
    half-edge ``v -> w`` has no face (rule established on the reference; parity pack ``spiral``). Around a
    vertex where several fans of faces touch, the fans follow one another, the one with the highest face index
    first; OpenMesh leaves that case undefined.

    Args:
        faces: vertex ids ``(F, 3)``, consistently oriented.
        n_vertices: V; vertices without a face get an empty ring.

    Raises:
        InputError: a face uses a vertex twice or two faces use the same half-edge (names both).
    """
    f = check_faces(faces, n_vertices)
    turn: list[dict[int, int]] = [{} for _ in range(n_vertices)]  # turn[v][b] = a for face (v, a, b)
    latest: list[dict[int, int]] = [{} for _ in range(n_vertices)]  # latest[v][a]: index of that face
    for index, face in enumerate(f.tolist()):
        for k in range(3):
            v, a, b = face[k], face[(k + 1) % 3], face[(k + 2) % 3]
            if v == a:
                raise InputError(f"face {index} {tuple(face)} uses vertex {v} twice")
            if a in latest[v]:
                raise InputError(
                    f"faces {latest[v][a]} and {index} both run along the edge {v} -> {a}: the mesh is not "
                    "manifold or its faces are oriented inconsistently"
                )
            turn[v][b] = a
            latest[v][a] = index
    return [_circulate(turn[v], latest[v]) for v in range(n_vertices)]


def _circulate(turn: dict[int, int], latest: dict[int, int]) -> list[int]:
    """Order one vertex's neighbours; ``turn`` maps a neighbour to the next one clockwise."""
    fans: list[tuple[int, list[int]]] = []  # (highest face index, neighbours)
    for start in [w for w in turn if w not in latest]:  # no face runs along v -> w: the open end of a fan
        fan = [start]
        while fan[-1] in turn:
            fan.append(turn[fan[-1]])
        fans.append((max(latest[w] for w in fan[1:]), fan))
    seen = {w for _, fan in fans for w in fan}
    for start in sorted(latest, key=lambda w: -latest[w]):
        if start in seen:
            continue
        fan = [start]
        while turn[fan[-1]] != start:
            fan.append(turn[fan[-1]])
        seen.update(fan)
        fans.append((latest[start], fan))
    return [w for _, fan in sorted(fans, key=lambda item: -item[0]) for w in fan]


def mirror_pairs(vertices: ArrayLike, *, axis: int = 0, tolerance: float = 1e-5) -> IntArray:
    """Find the mirror image of every vertex under negation of one coordinate.

    Args:
        vertices: positions ``(V, 3)``.
        axis: the coordinate that changes sign; x is left/right of a head.
        tolerance: largest distance between a mirrored vertex and its partner, in the unit of ``vertices``.

    Returns:
        ``(V,)`` partner ids, an involution; a vertex on the mirror plane is its own partner.

    Raises:
        InputError: some vertex has no partner (names the worst).
    """
    points = np.asarray(vertices, dtype=np.float64)
    flipped = points.copy()
    flipped[:, axis] *= -1
    distance, partner = KDTree(points).query(flipped)
    partner = np.asarray(partner, dtype=np.int64)
    bad = (distance > tolerance) | (partner[partner] != np.arange(len(points)))
    if bad.any():
        worst = int(np.argmax(np.where(bad, distance, -1.0)))
        raise InputError(
            f"{int(bad.sum())} of {len(points)} vertices have no mirror image within {tolerance:g}; "
            f"worst is vertex {worst} at distance {distance[worst]:.3g}"
        )
    return partner


def components(faces: ArrayLike, n_vertices: int) -> IntArray:
    """Label the connected parts ``(V,)`` in order of their first vertex; a vertex without face is one."""
    pairs = edges(check_faces(faces, n_vertices))
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_vertices, n_vertices))
    _, labels = connected_components(graph, directed=False)
    first: dict[int, int] = {}
    return np.array([first.setdefault(int(label), len(first)) for label in labels], dtype=np.int64)


def unused_vertices(faces: Sequence | NDArray, n_vertices: int) -> IntArray:
    """List the ids of vertices that no face uses."""
    used = np.zeros(n_vertices, dtype=bool)
    used[check_faces(faces, n_vertices).ravel()] = True
    return np.flatnonzero(~used)
