"""Which vertices of a head count: the mask, what is measured, what the alignment trusts, what the network sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from facezoo.errors import InputError
from facezoo.heads import HeadModel
from facezoo.mesh.subsets import nested_subsets

# What says nothing about the skull, or moves on its own: cut from the mask.
_NO_SKIN = (
    "neck", "boundary", "left_eyeball", "right_eyeball", "eye_socket", "mouth_interior", "teeth", "gums", "eye_parts",
)  # fmt: skip
_NO_PARTS = (
    "mouth",
    "eye_left",
    "eye_right",
    "nostril_left",
    "nostril_right",
    "eyeball_left",
    "eyeball_right",
)
_DENSER = 1.5
_TORSO = 0.05  # a vertex that follows the root joint by more than this share does not follow the skull
_UPPER = ("forehead", "eye_region", "nose")
_CRANIUM, _EARS = ("scalp", "cranium"), ("left_ear", "right_ear")


@dataclass(frozen=True)
class Regions:
    """Vertex ids of a head, ascending.

    Attributes:
        full_head: the mask: skin of face, cranium and ears without neck, eyeballs, mouth and nostrils.
        face: the face within it.
        upper_face: the face above the mouth within it.
        cranium: scalp and skull behind the face within it; may be empty.
        ears: may be empty.
    """

    full_head: Tensor
    face: Tensor
    upper_face: Tensor
    cranium: Tensor
    ears: Tensor

    def ids(self, name: str, head: HeadModel) -> Tensor:
        """Return the ids of a region of the configuration; ``"all"`` is every vertex of the head."""
        return torch.arange(head.n_vertices) if name == "all" else getattr(self, name)


def regions(head: HeadModel) -> Regions:
    """Read the regions of any head from its named masks.

    Raises:
        InputError: the head has no mask ``face``, or nothing that tells where its upper face is.
    """
    masks = head.topology.masks
    upper = ["upper_face"] if "upper_face" in masks else [name for name in _UPPER if name in masks]
    missing = [what for what, there in (("face", "face" in masks), ("upper_face", bool(upper))) if not there]
    if missing:
        raise InputError(
            f"head {head.head_id!r} has no mask {' and '.join(missing)}; it has {', '.join(sorted(masks)) or 'none'}. "
            "Convert it with its region masks (for FLAME: FLAME_masks.pkl beside the model)."
        )
    skin = head.weights[:, 0].cpu() <= _TORSO
    for name in _NO_SKIN:
        if name in masks:
            skin[masks[name].cpu()] = False
    parts = head.meta.get("parts")
    if parts and "part" in head.extra:
        inner = [parts.index(name) for name in _NO_PARTS if name in parts]
        skin &= ~torch.from_numpy(np.isin(head.extra["part"], inner))

    def within(*names: str) -> Tensor:
        chosen = torch.zeros_like(skin)
        for name in names:
            if name in masks:
                chosen[masks[name].cpu()] = True
        return torch.nonzero(chosen & skin)[:, 0]

    face = within("face", *upper)
    return Regions(
        full_head=torch.nonzero(skin)[:, 0],
        face=face,
        upper_face=within(*upper),
        cranium=within(*_CRANIUM)[~torch.isin(within(*_CRANIUM), face)],
        ears=within(*_EARS),
    )


def trust(head: HeadModel) -> Tensor:
    """Return how much the alignment trusts each vertex, (V,): most the upper face, little what expressions move."""
    areas = regions(head)
    weight = torch.full((head.n_vertices,), 0.02)
    weight[areas.cranium] = 0.3
    weight[areas.ears] = 0.3
    weight[areas.upper_face] = 1.0
    return weight


def choose_points(head: HeadModel, region: str, count: int) -> Tensor:
    """Spread points over a region of any head, each with its mirror image where the head is symmetric.

    Farthest-point sampling of the template, from the vertex farthest up; no randomness. The face gets half as dense a
    net again as the rest: scanners see it best.

    Returns:
        Vertex ids (count,), ascending.

    Raises:
        InputError: the region has fewer vertices.
    """
    ids = regions(head).ids(region, head)
    if count > len(ids):
        raise InputError(
            f"model.points={count} but region {region!r} of head {head.head_id!r} has {len(ids)} vertices; lower it"
        )
    places = head.v_template.cpu()[ids].numpy()
    places = np.where(np.isin(ids.numpy(), regions(head).face.numpy())[:, None], _DENSER * places, places)
    table = head.topology.symmetry
    if table is None:
        return ids[torch.tensor(sorted(islice(spread(places), count)))]
    position = {int(v): i for i, v in enumerate(ids)}
    twin = [position.get(int(v), i) for i, v in enumerate(table.cpu()[ids])]
    chosen: set[int] = set()
    for i in spread(places):
        pair = {i, twin[i]}
        if len(chosen | pair) <= count:
            chosen |= pair
        if len(chosen) == count:
            break
    return ids[torch.tensor(sorted(chosen))]


def choose_patches(head: HeadModel, region: str, ids: Tensor, size: int) -> Tensor:
    """Return the ``size`` vertices (n, size) of a region that are nearest to each vertex (n,), itself the first.

    Where the head is symmetric, mirror images have mirrored patches, and those on the midline lie on it.
    """
    members = regions(head).ids(region, head)
    places = head.v_template.cpu()

    def nearest(chosen: Tensor, among: Tensor) -> Tensor:
        _, near = KDTree(places[among].numpy()).query(places[chosen].numpy(), k=size)
        found = among[torch.from_numpy(np.asarray(near).reshape(len(chosen), size))]
        found[:, 0] = chosen
        return found

    patches = nearest(ids, members)
    table = head.topology.symmetry
    if table is not None:
        middle, midline = table.cpu()[ids] == ids, members[table.cpu()[members] == members]
        if bool(middle.any()) and len(midline) >= size:
            patches[middle] = nearest(ids[middle], midline)
        right = places[ids, 0] < 0
        rows = {int(v): i for i, v in enumerate(ids)}
        for i in torch.nonzero(right)[:, 0].tolist():
            twin = rows.get(int(table[ids[i]]))
            if twin is not None:
                patches[i] = table.cpu()[patches[twin]]
    return patches


def choose_mesh(head: HeadModel, region: str, count: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Thin a region to a mesh of ``count`` vertices, for graph networks.

    Returns:
        Vertex ids (count,), ascending, and faces (F, 3) that index into them.

    Raises:
        InputError: the region's mesh is not manifold or cannot be thinned that far.
    """
    ids = regions(head).ids(region, head).numpy()
    faces = head.topology.faces.cpu().numpy()
    inside = faces[np.isin(faces, ids).all(1)]
    table = head.topology.symmetry
    found = nested_subsets(
        head.v_template.cpu().numpy(),
        faces,
        [count],
        region=np.unique(inside),
        mirror=None if table is None else table.cpu().numpy(),
        uniformity=1.0,
    )[count]
    return torch.from_numpy(found.kept), found.faces


def spread(points: NDArray, start: int | None = None) -> Iterator[int]:
    """Order points by farthest-point sampling, from one of them or the highest: the next is the farthest from all."""
    x, y, z = (np.ascontiguousarray(axis) for axis in points.T)
    chosen = int(y.argmax()) if start is None else start
    nearest = np.full(len(points), np.inf)
    for _ in range(len(points)):
        yield chosen
        nearest = np.minimum(nearest, (x - x[chosen]) ** 2 + (y - y[chosen]) ** 2 + (z - z[chosen]) ** 2)
        nearest[chosen] = -1
        chosen = int(nearest.argmax())
