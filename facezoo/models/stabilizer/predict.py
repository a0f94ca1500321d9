"""``facezoo.load("skull-stabilizer")``: from two meshes to a transform, from a sequence to a stabilised one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facezoo.errors import InputError
from facezoo.mesh.io import read_mesh
from facezoo.mesh.io.sequence import MeshSequence, read_sequence
from facezoo.mesh.mesh import Mesh
from facezoo.models.stabilizer.module import StabilizerModel
from facezoo.models.stabilizer.rigid import RigidTransform
from facezoo.models.stabilizer.stabilize import Stabilized, stabilize

# A mesh in metres is within this factor of the mean head's size; one in mm or cm is not.
_OTHER_UNIT = 2.5

MeshLike = Mesh | Tensor | np.ndarray | str | os.PathLike


class SkullStabilizer(StabilizerModel):
    """Bring the skulls of registered meshes of one person together.

    Attributes:
        model_id: name it was loaded by.
    """

    model_id: str = "skull-stabilizer"

    @torch.no_grad()
    def predict(self, source: MeshLike, target: MeshLike) -> RigidTransform:
        """Find the rigid transform that brings the skull of one mesh onto that of another.

        Args:
            source: a mesh with the head's topology, in metres: :class:`~facezoo.mesh.Mesh`, file, or (V, 3) positions;
                a batch is (B, V, 3).
            target: the same person in another expression.

        Returns:
            The transform, float32 on the CPU; a batch gives (B) of them. ``predict(a, b).apply(a)`` moves ``a``.

        Raises:
            InputError: another topology, another unit than metres, or numbers that are not finite.
            AssetError: a file cannot be read.
        """
        points = [self._points(mesh) for mesh in (source, target)]
        single = points[0].dim() == 2 and points[1].dim() == 2
        a, b = torch.broadcast_tensors(*(p[None] if p.dim() == 2 else p for p in points))
        found = self.between(a, b).to("cpu")
        return found[0] if single else found

    def stabilize(
        self,
        sequence: MeshSequence | Tensor | np.ndarray | list[Mesh] | str | os.PathLike,
        reference: int | str | MeshLike = "medoid",
        *,
        anchors: int = 5,
        smooth: int = 0,
    ) -> Stabilized:
        """Hold the skull of all frames still; see :func:`facezoo.models.stabilizer.stabilize.stabilize`.

        Args:
            sequence: frames of one person: a folder or file that :func:`~facezoo.mesh.io.sequence.read_sequence` can
                read, meshes, or (N, V, 3) positions in metres.
            reference: the frame that stays where it is: its number, or ``"medoid"``, the most ordinary frame. Or a mesh
                of the same person, the neutral scan say.
            anchors: frames that every frame is compared with; more are steadier and slower.
            smooth: window of the smoothing in frames, odd and at least 5; 0 for none, as for expressions in no order.

        Raises:
            InputError: another topology or unit, or no such reference.
        """
        frames = self._frames(sequence)
        if isinstance(reference, int):
            if not -len(frames) <= reference < len(frames):
                raise InputError(f"reference={reference}, but there are {len(frames)} frames")
            chosen: int | Tensor | None = reference % len(frames)
        elif isinstance(reference, str) and reference == "medoid":
            chosen = None
        else:
            chosen = self._points(reference)
            if chosen.dim() != 2:
                raise InputError("the reference must be one mesh")
        points = self._checked(self.points(frames))
        return stabilize(self, frames, points, chosen, anchors=anchors, smooth=smooth)

    def _frames(self, sequence: Any) -> Tensor:
        if isinstance(sequence, str | os.PathLike):
            sequence = read_sequence(sequence)
        if isinstance(sequence, MeshSequence):
            sequence = sequence.vertices
        elif isinstance(sequence, list | tuple):
            if not sequence or not all(isinstance(mesh, Mesh) for mesh in sequence):
                raise InputError("a list must hold at least one Mesh and nothing else")
            sizes = {len(mesh.vertices) for mesh in sequence}
            if len(sizes) > 1:
                raise InputError(
                    f"the meshes have {', '.join(map(str, sorted(sizes)))} vertices; a sequence has one topology"
                )
            sequence = np.stack([mesh.vertices for mesh in sequence])
        frames = torch.as_tensor(sequence)
        if frames.dim() != 3 or not len(frames):
            raise InputError(f"a sequence must be (N, V, 3), got {tuple(frames.shape)}")
        self._check_topology(frames)
        return frames.detach().cpu()

    def _points(self, mesh: Any) -> Tensor:
        """Return the points that the network sees, (n, 3) or (B, n, 3), on the model's device."""
        if isinstance(mesh, str | os.PathLike):
            mesh = read_mesh(Path(mesh))
        vertices = torch.as_tensor(mesh.vertices if isinstance(mesh, Mesh) else mesh)
        if vertices.dim() not in (2, 3):
            raise InputError(f"a mesh must be (V, 3) or (B, V, 3), got {tuple(vertices.shape)}")
        self._check_topology(vertices)
        return self._checked(self.points(vertices))

    def _check_topology(self, vertices: Tensor) -> None:
        count = self.head.n_vertices
        if vertices.shape[-2:] != (count, 3):
            raise InputError(
                f"expected {count} vertices, the topology of head {self.config.head!r}, got {tuple(vertices.shape)}; "
                "for another topology train a model: python -m facezoo.train recipe=stabilizer head=ID"
            )

    def _checked(self, points: Tensor) -> Tensor:
        if not bool(torch.isfinite(points).all()):
            raise InputError("the mesh holds positions that are not finite")
        size, own = _radius(points), _radius(self.template)
        if bool((size > _OTHER_UNIT * own).any()) or bool((size < own / _OTHER_UNIT).any()):
            raise InputError(
                f"the mesh is {float(size.max() / own):.3g} times as large as a head in metres; scale it to metres"
            )
        return points


def _radius(points: Tensor) -> Tensor:
    return (points - points.mean(-2, keepdim=True)).square().sum(-1).mean(-1).sqrt()
