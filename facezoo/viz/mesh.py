"""From a fitted face to a mesh that other programs can open and move."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from facezoo.errors import InputError
from facezoo.heads.params import HeadParams
from facezoo.heads.registry import load_head
from facezoo.mesh.io.glb import NormalMap
from facezoo.mesh.mesh import Mesh
from facezoo.mesh.normals import vertex_normals
from facezoo.render.normal_map import bake_normal_map
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


def face_mesh(face: Face, image: Any = None, texture: Any = None) -> Mesh:
    """Build the mesh of a fitted face: head frame, metres, y up, the face looking along +z.

    The vertices are the face as it is in the picture. Each named expression is a morph target: what one unit more of it
    adds to them.

    Args:
        face: a face with vertices.
        image: the picture it was found in; given, its colours become the texture, if the head has
            coordinates for one.
        texture: (h, w, 3) uint8 to put on it instead, for the head's texture coordinates.

    Raises:
        InputError: the face has no vertices.
    """
    if face.vertices is None:
        raise InputError(
            "this face has no mesh: its model predicts landmarks only. Save it as .json or .npz."
        )
    head = head_of(face)
    vertices, faces = face.vertices.detach().float().cpu(), head.topology.faces.cpu()
    textured = len(head.topology.uv) > 0
    mesh = Mesh(
        vertices=vertices.numpy(),
        faces=faces.numpy(),
        uv=head.topology.uv.cpu().float().numpy() if textured else None,
        uv_faces=head.topology.uv_faces.cpu().numpy() if textured else None,
        normals=vertex_normals(vertices, faces).numpy(),
        morph_targets=_expression_targets(face, head),
        name=face.head_id or "face",
    )
    if texture is not None:
        return replace(mesh, texture=texture)
    if image is None or not textured:
        return mesh
    return replace(mesh, texture=texture_from_image(face, head, image))


def normal_map_of(face: Face) -> NormalMap | None:
    """Bake the displacement of methods that predict one, for the mesh of :func:`face_mesh`; None without."""
    displacement = None if face.detail is None else face.detail.get("displacement")
    if face.vertices is None or displacement is None or not displacement.numel():
        return None
    topology = head_of(face).topology
    return bake_normal_map(face.vertices, topology.faces, topology.uv, topology.uv_faces, displacement)


@torch.no_grad()
def _expression_targets(face: Face, head: HeadModel) -> dict[str, np.ndarray]:
    """Offsets of the vertices for one unit more of each named expression, at this face's identity and pose.

    For fixed joints a head is affine in its expression coefficients, so those targets add up exactly. Expressions
    that a joint carries (``joint_shapes`` of the head file: name -> joint, axis, degrees; the jaw's) are right at 1 and
    straight lines in between.
    """
    if face.params is None:
        return {}
    like = head.v_template
    given = dict(face.params.to(device=like.device, dtype=like.dtype).items())
    pose = {name: given[name] for name in ("neck", "jaw", "left_eye", "right_eye") if name in given}
    names, turns = head.params["expression"].names, head.meta.get("joint_shapes", {})
    rows = [*names, *(name for name in turns if name not in names)]
    # Row 0 is the face without any expression, row i + 1 the same with expression i at 1.
    expression = like.new_zeros(len(rows) + 1, head.n_expression)
    expression[1 : len(names) + 1] = torch.eye(head.n_expression)
    joints = {name: value.expand(len(rows) + 1, 3).clone() for name, value in pose.items()}
    for name, (joint, axis, degrees) in turns.items():
        turned = joints.setdefault(joint, like.new_zeros(len(rows) + 1, 3))
        turned[rows.index(name) + 1, axis] += math.radians(degrees)
    posed = head(HeadParams(identity=given.get("identity"), expression=expression, **joints)).vertices
    offsets = (posed[1:] - posed[:1]).float().cpu().numpy()
    return dict(zip(rows, offsets, strict=True))
