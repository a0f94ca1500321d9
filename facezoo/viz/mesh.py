"""From a fitted face to a mesh that other programs can open and move."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from facezoo.errors import InputError
from facezoo.heads.params import HeadParams
from facezoo.heads.registry import load_head
from facezoo.mesh.mesh import Mesh
from facezoo.mesh.normals import vertex_normals
from facezoo.viz.texture import texture_from_image

if TYPE_CHECKING:
    from facezoo.heads.model import HeadModel
    from facezoo.types import Face


def head_of(face: Face) -> HeadModel:
    """Return the head a face was fitted with.

    Raises:
        InputError: the face has no head.
        AssetError: its head is not installed on this machine.
    """
    if face.head is not None:
        return face.head
    if not face.head_id:
        raise InputError("this face has no head: the model that predicted it gives landmarks only.")
    return load_head(face.head_id)


def face_mesh(face: Face, image: Any = None) -> Mesh:
    """Build the mesh of a fitted face: head frame, metres, y up, the face looking along +z.

    The vertices are the face as it is in the picture. Each expression component is a morph target: what a coefficient
    one higher adds to them.

    Args:
        face: a face with vertices.
        image: the picture it was found in; given, its colours become the texture of a head that has coordinates for one.

    Raises:
        InputError: the face has no vertices.
    """
    if face.vertices is None:
        raise InputError(
            "this face has no mesh: its model predicts landmarks only. Save it as .json or .npz."
        )
    head = head_of(face)
    vertices = face.vertices.detach().float().cpu()
    faces = head.topology.faces.cpu()
    mesh = Mesh(
        vertices=vertices,
        faces=faces,
        uv=head.topology.uv.cpu() if len(head.topology.uv) else None,
        uv_faces=head.topology.uv_faces.cpu() if len(head.topology.uv) else None,
        normals=vertex_normals(vertices[None], faces)[0],
        morph_targets=_expression_targets(face, head),
        name=face.head_id or "face",
    )
    if image is None or not len(head.topology.uv):
        return mesh
    return replace(mesh, texture=texture_from_image(face, head, image))


@torch.no_grad()
def _expression_targets(face: Face, head: HeadModel) -> dict[str, np.ndarray]:
    """Offsets of the vertices for one unit more of each expression component, at this face's identity and pose.

    For fixed joints a head is affine in its expression coefficients, so targets add up exactly.
    """
    if face.params is None or head.n_expression == 0:
        return {}
    like = head.v_template
    given = face.params.to(device=like.device, dtype=like.dtype)
    pose = {
        name: value for name, value in given.items() if name not in ("expression", "rotation", "translation")
    }
    one_each = torch.eye(head.n_expression, device=like.device, dtype=like.dtype)
    posed = head(
        HeadParams(expression=torch.cat([torch.zeros_like(one_each[:1]), one_each]), **pose)
    ).vertices
    offsets = (posed[1:] - posed[:1]).float().cpu().numpy()
    return dict(zip(head.params["expression"].names, offsets, strict=True))
