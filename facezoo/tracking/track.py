"""What a tracking is: people through a video, each with one shape, and a pose and an expression a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.errors import InputError
from facezoo.geometry.camera import Camera
from facezoo.heads.model import HeadModel
from facezoo.heads.params import HeadParams
from facezoo.tracking.observe import Observations
from facezoo.types import Face


@dataclass(frozen=True, eq=False)
class View:
    """One of several cameras, and what it saw of a person.

    Attributes:
        name: of the camera.
        K: (3, 3). extrinsics: (4, 4) world to camera; without a calibration the world is the first camera.
        image_size: (height, width).
        observations: with this camera's frames; none if it never saw the person.
        rms: (T,) pixels, NaN where not seen.
    """

    name: str
    K: Tensor
    extrinsics: Tensor
    image_size: tuple[int, int]
    observations: Observations
    rms: Tensor


@dataclass(eq=False)
class PersonTrack:
    """One person of a video. Pixels of the original frames, metres, OpenCV camera axes.

    Tracked from several cameras, pose, K and image_size are those of the first; ``views`` has all.

    Attributes:
        number: of the person, 0 is who was seen first.
        frames: (T,) frame numbers, without gaps within a segment.
        seen: (T,) False where the face was not found and the motion fills in.
        segment: (T,) scene between cuts.
        params: identity (1, n_id), expression (T, n_e), jaw (T, 3), and whatever else was fitted. Online, and in
            tracks solved in stretches, identity is (T, n_id): as far as it was known in that frame.
        R, t: (T, 3, 3) and (T, 3) head to camera.
        K: (T, 3, 3).
        rms: (T,) pixels, distance of the landmarks from the fit; NaN where not seen.
        image_size: (height, width).
        fps: frames a second.
        observations: what the fit was made from.
        vertex_ids: (N,) vertices of the observed points.
        head: the head.
        converged: the joint fit stopped because nothing changed any more (True in online mode).
        views: all cameras, where there are several.
    """

    number: int
    frames: NDArray[np.int64]
    seen: NDArray[np.bool_]
    segment: NDArray[np.int64]
    params: HeadParams
    R: Tensor
    t: Tensor
    K: Tensor
    rms: Tensor
    image_size: tuple[int, int]
    fps: float
    observations: Observations
    vertex_ids: Tensor
    head: HeadModel = field(repr=False)
    converged: bool = True
    views: tuple[View, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def cameras(self) -> Camera:
        """The T cameras that take ``vertices`` to pixels."""
        return Camera(self.K, self.R, self.t, self.image_size)

    def cameras_of(self, view: int) -> Camera:
        """Return the T cameras of one view."""
        if not self.views and view == 0:
            return self.cameras
        first, seen = self.views[0].extrinsics.to(self.R), self.views[view]
        move = seen.extrinsics.to(self.R) @ torch.linalg.inv(first)
        R, t = move[:3, :3] @ self.R, self.t @ move[:3, :3].mT + move[:3, 3]
        return Camera(seen.K.to(R).expand(len(self), 3, 3), R, t, seen.image_size)

    @torch.no_grad()
    def vertices(self, rows: slice = slice(None), ids: Tensor | None = None) -> Tensor:
        """Return vertices (T', V, 3) in the head frame, metres; all of them or ``ids``."""
        part = self._params(rows)
        return self.head(part.to(self.head.v_template), ids).vertices

    def _params(self, rows: slice) -> HeadParams:
        """Return the parameters of some rows."""
        return self.params.map(lambda value: value if len(value) == 1 else value[rows])

    def face(self, row: int, view: int = 0) -> Face:
        """Return one row as a face in a view; its landmarks are those of the fitted head."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of a track of {len(self)} frames")
        row %= len(self)
        params, camera = self._params(slice(row, row + 1)), self.cameras_of(view)[row]
        return posed_face(self.head, params, camera, self.number, seen=bool(self.seen[row]))

    def save(self, path: str | Path) -> Path:
        """Write the track; the suffix picks the format.

        ``.npz``: the fit in the layout that FlowFace's authors publish (see docs/tracking.md); ``.alignment.npz``: the
        observations in theirs; ``.glb`` and ``.usda``: the head with morph targets and their animation, in camera
        space.

        Raises:
            InputError: another suffix.
        """
        from facezoo.tracking.export import save_person

        return save_person(self, Path(path))


@torch.no_grad()
def posed_face(head: HeadModel, params: HeadParams, camera: Camera, number: int, *, seen: bool) -> Face:
    """Return a person in one frame as a face.

    Args:
        head: the head.
        params: with one row.
        camera: head to picture.
        number: of the person.
        seen: False for a face that the motion filled in; its score is 0.
    """
    vertices = head(params.to(head.v_template)).vertices
    points = camera.project(head.landmarks(vertices, "ibug68")[0].to(camera.K))
    return Face(
        box=torch.cat((points.amin(0), points.amax(0))).float(),
        score=1.0 if seen else 0.0,
        landmarks={"ibug68": points.float()},
        head_id=head.head_id,
        params=params,
        vertices=vertices[0],
        camera=camera.to(torch.float32),
        track_id=number,
        head=head,
    )


@dataclass(eq=False)
class Track(Sequence[PersonTrack]):
    """The people of a video.

    Attributes:
        people: in the order they were first seen.
        frames: number of frames of the video.
        image_size: (height, width).
        fps: frames a second.
        source: where the video came from. model: full id of the model. mode: ``"offline"`` or ``"online"``.
        views: names of the cameras, where there are several.
    """

    people: list[PersonTrack]
    frames: int
    image_size: tuple[int, int]
    fps: float
    source: str = ""
    model: str = ""
    mode: str = "offline"
    views: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> PersonTrack: ...
    @overload
    def __getitem__(self, index: slice) -> list[PersonTrack]: ...
    def __getitem__(self, index: int | slice) -> PersonTrack | list[PersonTrack]:
        return self.people[index]

    def __len__(self) -> int:
        return len(self.people)

    def faces(self, frame: int, view: int = 0) -> list[Face]:
        """Return the faces of one frame in a view, filled-in ones included."""
        if not 0 <= frame < self.frames:
            raise InputError(f"frame {frame} of {self.frames}.")
        found = []
        for person in self.people:
            rows = np.flatnonzero(person.frames == frame)
            found += [person.face(int(row), view) for row in rows[:1]]
        return found

    def __repr__(self) -> str:
        lines = [
            f"Track({len(self)} people, {self.frames} frames of {self.source}, {self.model!r}, {self.mode})"
        ]
        for p in self.people:
            lines.append(
                f"  {p.number}: frames {p.frames[0]}-{p.frames[-1]}, {int(p.seen.sum())} seen, "
                f"rms {float(p.rms.nanmean()):.2f} px, focal {float(p.K[0, 0, 0]):.0f} px"
            )
        return "\n".join(lines)
