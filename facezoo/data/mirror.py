"""What a horizontal flip does to labels: which points trade places, which parameters trade places or change sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.heads.model import HeadModel
from facezoo.heads.topology import Topology

# iBUG-68: subject's right jaw ... chin ... left jaw, brows, nose bridge, nostrils, eyes, outer lip, inner lip.
_IBUG68_PAIRS = (
    [(i, 16 - i) for i in range(8)]
    + [(17 + i, 26 - i) for i in range(5)]
    + [(31, 35), (32, 34)]
    + [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    + [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56)]
    + [(60, 64), (61, 63), (67, 65)]
)


def ibug68_mirror() -> Tensor:
    """Return the permutation (68,) of iBUG points under a horizontal flip."""
    order = torch.arange(68)
    for a, b in _IBUG68_PAIRS:
        order[a], order[b] = b, a
    return order


@dataclass(frozen=True)
class Mirror:
    """Maps of labels under the reflection x → -x of the head.

    Attributes:
        points: (L,) permutation of the dense points, or None: samples are then never flipped.
        identity: (index (n,), sign (n,)) with mirrored[i] = sign[i] · value[index[i]], or None when the basis is not
            closed under reflection: flipped samples then have no identity target.
        expression: the same for expression.
        landmarks68: (68,) permutation.
        texture: whether the mirror image of a texture is its columns in reverse order.
    """

    points: Tensor | None = None
    identity: tuple[Tensor, Tensor] | None = None
    expression: tuple[Tensor, Tensor] | None = None
    landmarks68: Tensor | None = None
    texture: bool = False

    @classmethod
    def of_head(cls, head: HeadModel, points: int) -> Mirror:
        """Derive the maps from a head's symmetry table and the subset of ``points`` vertices."""
        symmetry = head.topology.symmetry
        if symmetry is None:
            return cls(landmarks68=ibug68_mirror())
        return cls(
            subset_mirror(head.topology.subset(points), symmetry),
            basis_mirror(head.shapedirs[..., : head.n_identity], symmetry),
            basis_mirror(head.shapedirs[..., head.n_identity :], symmetry, head.params["expression"].names),
            ibug68_mirror(),
            texture_mirror(head.topology),
        )


def texture_mirror(topology: Topology, tolerance: float = 1e-4) -> bool:
    """Return whether every vertex at (u, v) of the texture layout has its mirror vertex at (1 - u, v).

    Args:
        topology: with symmetry table and texture coordinates; without either the answer is no.
        tolerance: in texture coordinates; 1e-4 is a fortieth of a texel of 256.
    """
    if topology.symmetry is None or not len(topology.uv_faces):
        return False
    corners = (topology.faces * len(topology.uv) + topology.uv_faces).unique()
    vertex, uv = corners // len(topology.uv), topology.uv[corners % len(topology.uv)]
    count = torch.bincount(vertex, minlength=len(topology.symmetry))
    place = torch.arange(len(vertex), device=vertex.device) - (count.cumsum(0) - count)[vertex]
    table = uv.new_full((len(count), int(count.max()), 2), torch.inf)  # a vertex on a seam has several places
    table[vertex, place] = uv
    image = torch.stack([1 - uv[:, 0], uv[:, 1]], 1)
    away = (table[topology.symmetry[vertex]] - image[:, None]).abs().amax(-1).amin(1)
    return bool((away <= tolerance).all())


def subset_mirror(ids: Tensor, symmetry: Tensor) -> Tensor | None:
    """Return the permutation of a vertex subset (L,) under a symmetry table (V,), or None when it is not closed."""
    place = torch.full((len(symmetry),), -1, dtype=torch.long)
    place[ids] = torch.arange(len(ids))
    mirrored = place[symmetry[ids]]
    return None if bool((mirrored < 0).any()) else mirrored


def basis_mirror(
    basis: Tensor, symmetry: Tensor, names: Sequence[str] | None = None, tolerance: float = 0.02
) -> tuple[Tensor, Tensor] | None:
    """Find index and sign of every component's mirror image.

    Args:
        basis: (V, 3, n) displacements.
        symmetry: (V,) mirror vertex of every vertex.
        names: (n,) names, in which Left and Right are preferred as pairs.
        tolerance: allowed residual of a component against its image, relative to its norm.

    Returns:
        (index (n,), sign (n,)), or None when some component's mirror image is not ± another component.
    """
    if basis.dim() != 3 or basis.shape[:2] != (len(symmetry), 3):
        raise InputError(f"basis has shape {tuple(basis.shape)}; expected ({len(symmetry)}, 3, n)")
    flat = basis.flatten(0, 1)
    reflected = (basis[symmetry] * basis.new_tensor([-1.0, 1.0, 1.0])[None, :, None]).flatten(0, 1)
    norm = flat.norm(dim=0).clamp_min(1e-12)
    similarity = (reflected / norm).mT @ (flat / norm)  # row: mirrored component, column: candidate
    index = similarity.abs().argmax(1)
    sign = torch.gather(similarity, 1, index[:, None])[:, 0].sign()
    for i in range(flat.shape[1] if names is not None else 0):
        # Two components may move the vertices alike (gaze moves the lids a little, the eyes by joints): names decide.
        other = _other_side(i, names or ())
        if float((reflected[:, i] - flat[:, other]).norm()) <= tolerance * float(norm[i]):
            index[i], sign[i] = other, 1
    residual = (reflected - flat[:, index] * sign).norm(dim=0) / norm
    closed = bool((residual < tolerance).all()) and index.unique().numel() == index.numel()
    # values transform like the coefficients: reflect(Σ c_i b_i) = Σ c_i s_i b_index[i]; pairs are their own inverse
    return (index, sign) if closed else None


def _other_side(i: int, names: Sequence[str]) -> int:
    """Return the component whose name has Left and Right exchanged, or ``i`` itself."""
    swapped = names[i].replace("Left", "\0").replace("Right", "Left").replace("\0", "Right")
    return list(names).index(swapped) if swapped in names else i
