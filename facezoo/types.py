"""What a prediction is: a picture and the faces in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

    from facezoo.geometry.camera import Camera
    from facezoo.heads.model import HeadModel
    from facezoo.heads.params import HeadParams
    from facezoo.mesh.mesh import Mesh

# Faces and predictions write and draw themselves. That code lives in `viz`, to the right of everything it needs, so
# the methods below import it when they are called: the one arrow in the package that points left at run time.


class Pose(NamedTuple):
    """Head rotation in degrees, in the convention of AFLW2000-3D (see ``facezoo.geometry.rotations``).

    yaw > 0 looks to the image's left, pitch > 0 looks up, roll > 0 tilts the crown to the image's right.
    """

    yaw: float
    pitch: float
    roll: float


class FitReport(NamedTuple):
    """How well the head explains the landmarks.

    Attributes:
        cost: value of the minimised function, half the sum of squared weighted residuals and priors.
        rms_px: root mean square distance between landmarks and head, pixels of the original image.
        iterations: steps taken.
        converged: True if it stopped because nothing changed any more.
    """

    cost: float
    rms_px: float
    iterations: int
    converged: bool


@dataclass(eq=False)
class Face:
    """One face of one picture. Pixels are of the ORIGINAL picture, pixel centres at .5; metres; head frame as FLAME's.

    Attributes:
        box: (4,) x0, y0, x1, y1, tight around the iBUG-68 landmarks.
        score: how sure the detector was; 1 for boxes given by the caller.
        landmarks: name -> (N, 2) pixels. ``"ibug68"`` always; ``"dense"`` where the method predicts dense points.
        confidence: name -> (N,) in [0, 1], for the landmark sets whose method knows it.
        head_id: head whose parameters and vertices these are, e.g. ``"open-v1"``; empty without a head.
        params: head parameters with one row, or None.
        vertices: (V, 3) metres in the head frame, or None.
        camera: takes ``vertices`` to pixels, or None.
        fit: how well the head was fitted, or None if it was not.
        detail: extra maps of methods that predict surface detail.
        track_id: number of the person in a video, or None.
        head: the head itself, for writers that need its topology.
    """

    box: Tensor
    score: float
    landmarks: dict[str, Tensor]
    confidence: dict[str, Tensor] = field(default_factory=dict)
    head_id: str = ""
    params: HeadParams | None = None
    vertices: Tensor | None = None
    camera: Camera | None = None
    fit: FitReport | None = None
    detail: Mapping[str, Tensor] | None = None
    track_id: int | None = None
    head: HeadModel | None = field(default=None, repr=False)

    @property
    def pose(self) -> Pose | None:
        """Yaw, pitch and roll in degrees, or None for a face without a camera."""
        if self.camera is None:
            return None
        yaw, pitch, roll = (float(torch.rad2deg(angle)) for angle in self.camera.euler())
        return Pose(yaw, pitch, roll)

    def mesh(self, image: Any = None) -> Mesh:
        """Return the fitted head as a mesh.

        Args:
            image: the picture; given, its colours become the mesh's texture.

        Raises:
            InputError: the face has no vertices (it was predicted with ``fit=False``).
        """
        from facezoo.viz.mesh import face_mesh

        return face_mesh(self, image)

    def save(self, path: str | Path, *, image: Any = None, texture: Any = None) -> Path:
        """Write the face; the suffix picks the format.

        ``.glb`` (named morph targets for every expression; a normal map where the method predicts relief), ``.obj``,
        ``.ply``, ``.usda`` hold the mesh; ``.npz`` holds every array, ``.json`` everything but the vertices. A file
        appears whole or not at all.

        Args:
            path: where to write; the folder is made if need be.
            image: the picture the face was found in; given, GLB and OBJ carry its colours as a texture.
            texture: (h, w, 3) uint8 to carry instead.

        Raises:
            InputError: unknown suffix, or a mesh is asked of a face that has none.
        """
        from facezoo.viz.save import save_face

        return save_face(self, Path(path), image, texture)

    def overlay(self, image: Any, style: str = "mesh", scale: int | None = None) -> Image.Image:
        """Draw the face on its picture; see :func:`facezoo.viz.overlay.draw_faces`."""
        from facezoo.viz.overlay import draw_faces

        return draw_faces(image, [self], style, scale)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, as ``.json`` files hold them."""
        from facezoo.viz.save import face_to_dict

        return face_to_dict(self)

    def __repr__(self) -> str:
        box = ", ".join(f"{v:.1f}" for v in self.box.tolist())
        parts = [f"box=({box})", f"score={self.score:.2f}"]
        if (pose := self.pose) is not None:
            parts.append(f"yaw={pose.yaw:+.0f}° pitch={pose.pitch:+.0f}° roll={pose.roll:+.0f}°")
        parts.append(
            "landmarks=" + "+".join(f"{name}:{len(points)}" for name, points in self.landmarks.items())
        )
        if self.vertices is not None:
            parts.append(f"vertices={len(self.vertices)} of {self.head_id}")
        return f"Face({', '.join(parts)})"


@dataclass(eq=False)
class Prediction(Sequence[Face]):
    """The faces of one picture, surest first; empty if there is none. In a notebook it shows itself.

    Attributes:
        faces: the faces.
        image: (H, W, 3) uint8 RGB, upright: the pixels all coordinates refer to.
        source: where the picture came from.
        model: full id of the model, e.g. ``"dense-1609.open-v2"``.
        detector: name of the detector, or ``"given"``.
    """

    faces: list[Face]
    image: np.ndarray
    source: str = ""
    model: str = ""
    detector: str = ""

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice) -> list[Face]: ...
    def __getitem__(self, index: int | slice) -> Face | list[Face]:
        if isinstance(index, int) and not -len(self.faces) <= index < len(self.faces):
            found = f"{len(self.faces)} face{'s' * (len(self.faces) != 1)}"
            raise IndexError(f"face {index} of {self.source or 'the picture'}: {found} found")
        return self.faces[index]

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    def overlay(self, style: str = "mesh", scale: int | None = None) -> Image.Image:
        """Draw all faces on the picture; see :func:`facezoo.viz.overlay.draw_faces`."""
        from facezoo.viz.overlay import draw_faces

        return draw_faces(self.image, self.faces, style, scale)

    def save(
        self, folder: str | Path, stem: str | None = None, formats: Sequence[str] = ("glb",)
    ) -> list[Path]:
        """Write the overlay, one JSON file for the picture and every face in the mesh formats asked for.

        Args:
            folder: made if need be.
            stem: how the files' names begin; default the picture's own name.
            formats: suffixes as of :meth:`Face.save`, without the dot.

        Returns:
            The files written: ``<stem>_overlay.png``, ``<stem>.json``, ``<stem>_<n>.<format>``. All or none appear.
        """
        from facezoo.viz.save import save_prediction

        return save_prediction(self, Path(folder), stem, formats)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, as ``.json`` files hold them."""
        from facezoo.viz.save import prediction_to_dict

        return prediction_to_dict(self)

    def _repr_png_(self) -> bytes:
        from facezoo.viz.save import png_bytes

        return png_bytes(self.overlay())

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        head = f"Prediction({len(self.faces)} face{'s' * (len(self.faces) != 1)}, {width} × {height}, {self.model!r})"
        return "\n  ".join([head, *(repr(face) for face in self.faces)])
