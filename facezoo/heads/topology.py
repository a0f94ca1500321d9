"""What a head's vertices mean: triangles, texture coordinates, regions, landmarks, symmetry, subsets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from facezoo.errors import unknown_name


class LandmarkSet(NamedTuple):
    """Points fixed on the surface: ``faces`` (N,) triangle ids and ``bary`` (N, 3) barycentric weights."""

    faces: Tensor
    bary: Tensor


class ContourTable(NamedTuple):
    """FLAME's jaw line by yaw: row r of ``faces`` (79, 17) and ``bary`` (79, 17, 3) serves one degree of yaw.

    Rows 0..39 are 0..39 degrees, rows 40..78 are -1..-39 degrees (see :mod:`facezoo.heads.contour`).
    """

    faces: Tensor
    bary: Tensor


@dataclass(frozen=True)
class Topology:
    """Connectivity and semantics of one head; shared by all its shapes.

    Attributes:
        faces: (F, 3) vertex ids, counter-clockwise from outside.
        uv: (T, 2) texture coordinates, v up; T = 0 when the head has none.
        uv_faces: (F, 3) rows of ``uv`` for each corner; (0, 3) when the head has none.
        masks: region name -> vertex ids.
        landmarks: name -> landmark set.
        symmetry: (V,) id of the mirrored vertex (x -> -x), or None.
        subsets: size -> vertex ids.
        contour: jaw line by yaw, or None.
    """

    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    masks: dict[str, Tensor] = field(default_factory=dict)
    landmarks: dict[str, LandmarkSet] = field(default_factory=dict)
    symmetry: Tensor | None = None
    subsets: dict[int, Tensor] = field(default_factory=dict)
    contour: ContourTable | None = None

    def mask(self, name: str) -> Tensor:
        """Return the vertex ids of a region.

        Raises:
            UnknownNameError: the head has no such region.
        """
        if name not in self.masks:
            raise unknown_name("region", name, self.masks)
        return self.masks[name]

    def landmark_set(self, name: str) -> LandmarkSet:
        """Return a landmark set.

        Raises:
            UnknownNameError: the head has no such set.
        """
        if name not in self.landmarks:
            raise unknown_name("landmark set", name, self.landmarks)
        return self.landmarks[name]

    def subset(self, size: int) -> Tensor:
        """Return the vertex ids of the subset with ``size`` vertices.

        Raises:
            UnknownNameError: the head has no such subset.
        """
        if size not in self.subsets:
            raise unknown_name("vertex subset", str(size), map(str, self.subsets))
        return self.subsets[size]

    def landmark_vertices(self, name: str) -> tuple[Tensor, Tensor]:
        """Return which vertices a landmark set reads: ids (M,) and corner positions in them (N, 3).

        With ``out = head(params, vertices=ids)`` the landmarks are
        ``(out.vertices[:, corners] * bary[..., None]).sum(2)``: no other vertex is computed.
        """
        corners = self.faces[self.landmark_set(name).faces]
        ids, position = torch.unique(corners, return_inverse=True)
        return ids, position

    def map(self, function: Callable[[Tensor], Tensor]) -> Topology:
        """Apply ``function`` (a move to another device, say) to every tensor."""
        return Topology(
            faces=function(self.faces),
            uv=function(self.uv),
            uv_faces=function(self.uv_faces),
            masks={name: function(ids) for name, ids in self.masks.items()},
            landmarks={
                name: LandmarkSet(function(s.faces), function(s.bary)) for name, s in self.landmarks.items()
            },
            symmetry=None if self.symmetry is None else function(self.symmetry),
            subsets={size: function(ids) for size, ids in self.subsets.items()},
            contour=None
            if self.contour is None
            else ContourTable(function(self.contour.faces), function(self.contour.bary)),
        )
