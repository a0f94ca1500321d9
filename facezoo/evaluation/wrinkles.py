"""Do wrinkles belong to the person and move with expression? Displacement energy when one of the two is exchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.models.deca.predict import Deca
from facezoo.render import Fragments, interpolate
from facezoo.types import Face

REGIONS = ("face", "forehead", "eye_region", "nose", "lips")


@dataclasses.dataclass(frozen=True)
class RegionEnergy:
    """Root mean square displacements of one region over people and texels, millimetres.

    Attributes:
        own: of the faces as they are.
        by_expression: change when a face gets the next one's expression and jaw, and keeps its detail code.
        by_person: change when it gets the next one's detail code, and keeps its expression and jaw.
    """

    own: float
    by_expression: float
    by_person: float


@torch.no_grad()
def exchange_energy(model: Deca, faces: Sequence[Face]) -> dict[str, RegionEnergy]:
    """Exchange expressions, then detail codes, among faces in a ring, and measure by region.

    Args:
        model: with a detail branch.
        faces: two or more that it predicted, of different people.

    Returns:
        Region -> energies, for those of ``REGIONS`` that the head has.

    Raises:
        InputError: fewer than two faces, or faces without a detail code.
    """
    if len(faces) < 2 or any(face.detail is None or "code" not in face.detail for face in faces):
        raise InputError(
            "exchange_energy needs two or more faces with detail codes; train the detail branch first."
        )
    own, expressed, coded = [], [], []
    for face, other in zip(faces, [*faces[1:], faces[0]], strict=True):
        assert face.detail is not None and other.detail is not None
        own.append(model.animate(face).detail)
        expressed.append(model.transfer(face, other).detail)
        stranger = dataclasses.replace(face, detail={**face.detail, "code": other.detail["code"]})
        coded.append(model.animate(stranger).detail)
    maps = [torch.cat([d["displacement"] for d in row if d is not None]) for row in (own, expressed, coded)]
    changes = (maps[0], maps[1] - maps[0], maps[2] - maps[0])
    return {
        name: RegionEnergy(
            *(1000 * float((x.square() * mask).sum().div(len(x) * mask.sum()).sqrt()) for x in changes)
        )
        for name, mask in region_masks(model).items()
    }


def region_masks(model: Deca) -> dict[str, Tensor]:
    """Return region -> texels (H, W) of the displacement map that lie wholly in it, 0 or 1."""
    surface, head = model.surface, model.net.space.head
    layout = Fragments(surface.face_index, surface.bary, torch.zeros_like(surface.bary[..., 0]))
    masks = {}
    for name in REGIONS:
        if name in head.topology.masks:
            weight = torch.zeros(head.n_vertices, 1, device=surface.bary.device)
            weight[head.topology.masks[name]] = 1
            inside = interpolate(layout, head.topology.faces, weight)[0, ..., 0] > 0.99
            if bool(inside.any()):  # a small map may have no texel in a small region
                masks[name] = inside.float().cpu()
    return masks
