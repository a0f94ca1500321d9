"""Multiface (Wuu et al. 2022): people filmed by dozens of calibrated cameras, with a tracked mesh a frame.

Layout of one person's folder, as published (github.com/facebookresearch/multiface, documentation/DATA_STRUCTURE.md):

    KRT                                           cameras: name, 3 × 3 intrinsics, distortion, 3 × 4 extrinsics
    frame_list.txt                                "sequence frame" a line
    images/SEQUENCE/CAMERA/FRAME.png
    tracked_mesh/SEQUENCE/FRAME.bin               float32 vertices in the head's coordinates, millimetres
    tracked_mesh/SEQUENCE/FRAME_transform.txt     3 × 4 head to world, millimetres
    tracked_mesh/SEQUENCE/FRAME.obj               the same with triangles; one topology for all
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.data.readers.base import ReaderInfo
from facezoo.errors import AssetError, unknown_name
from facezoo.mesh.io import read_mesh

FPS = 30.0
_MILLIMETRE = 1e-3


class MultifaceCamera(NamedTuple):
    """A camera.

    Attributes:
        K: (3, 3) pixels of the published pictures.
        distortion: as published; nothing applies it, nor does the authors' code.
        extrinsics: (4, 4) world to camera, metres, OpenCV axes.
    """

    K: Tensor
    distortion: NDArray[np.float64]
    extrinsics: Tensor


class MultifaceReader:
    """One person's folder.

    Args:
        root: the folder, e.g. ``m--20180227--0000--6795937--GHS``.

    Attributes:
        cameras: by name.
        sequences: name -> its frames in the order of ``frame_list.txt``, those that have a mesh.

    Raises:
        AssetError: something of the layout is missing or cannot be read.
    """

    info = ReaderInfo(
        licence="CC BY-NC 4.0",
        url="https://github.com/facebookresearch/multiface",
        landmarks="",
        note="tracked meshes of 7306 vertices without eyes and mouth interior; distortion is not applied",
    )

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        for name in ("KRT", "frame_list.txt", "tracked_mesh"):
            if not (self.root / name).exists():
                raise AssetError(
                    f"{self.root} has no {name}; give the folder of one person of Multiface, e.g. "
                    "m--20180227--0000--6795937--GHS, fetched with the authors' download_dataset.py."
                )
        self.cameras: Mapping[str, MultifaceCamera] = read_krt(self.root / "KRT")
        self.sequences: dict[str, list[str]] = {}
        for number, line in enumerate((self.root / "frame_list.txt").read_text().splitlines(), 1):
            words = line.split()
            if len(words) not in (0, 2):
                raise AssetError(
                    f"{self.root / 'frame_list.txt'}, line {number}: expected 'sequence frame', got {line!r}."
                )
            if words and self._mesh(words[0], words[1], ".bin").is_file():
                self.sequences.setdefault(words[0], []).append(words[1])
        if not self.sequences:
            raise AssetError(f"{self.root}: no frame of frame_list.txt has a mesh in tracked_mesh/.")
        self._faces: Tensor | None = None

    @property
    def faces(self) -> Tensor:
        """Triangles (F, 3) of all meshes."""
        if self._faces is None:
            sequence = next(iter(self.sequences))
            path = self._mesh(sequence, self.sequences[sequence][0], ".obj")
            self._faces = torch.from_numpy(np.asarray(read_mesh(path).faces, np.int64))
        return self._faces

    def frames(self, sequence: str, camera: str) -> list[str]:
        """Return the frames of a sequence with a picture by this camera.

        Raises:
            UnknownNameError: no such sequence or camera.
        """
        if sequence not in self.sequences:
            raise unknown_name("Multiface sequence", sequence, self.sequences)
        if camera not in self.cameras:
            raise unknown_name("Multiface camera", camera, self.cameras)
        return [f for f in self.sequences[sequence] if self.picture(sequence, camera, f).is_file()]

    def picture(self, sequence: str, camera: str, frame: str) -> Path:
        """Return the path of a picture."""
        return self.root / "images" / sequence / camera / f"{frame}.png"

    def vertices(self, sequence: str, frame: str) -> Tensor:
        """Return the mesh (V, 3) of a frame in the world, metres.

        Raises:
            AssetError: a file is missing or has another size than the triangles need.
        """
        path = self._mesh(sequence, frame, ".bin")
        try:
            values = np.fromfile(path, np.float32)
            pose = np.loadtxt(self._mesh(sequence, frame, "_transform.txt"))
        except (OSError, ValueError) as error:
            raise AssetError(f"cannot read frame {frame} of {sequence} in {self.root}: {error}") from error
        count = int(self.faces.max()) + 1
        if len(values) % 3 or len(values) < 3 * count or pose.shape != (3, 4):
            raise AssetError(
                f"{path} holds {len(values) / 3:g} vertices, the triangles need {count}, and its transform is "
                f"{pose.shape}, not (3, 4)."
            )
        own = values.reshape(-1, 3).astype(np.float64)
        return torch.from_numpy(_MILLIMETRE * (own @ pose[:, :3].T + pose[:, 3])).float()

    def seen(self, sequence: str, frame: str, camera: str) -> Tensor:
        """Return the mesh (V, 3) of a frame in a camera's axes, metres."""
        extrinsics = self.cameras[camera].extrinsics
        return self.vertices(sequence, frame) @ extrinsics[:3, :3].mT + extrinsics[:3, 3]

    def _mesh(self, sequence: str, frame: str, ending: str) -> Path:
        return self.root / "tracked_mesh" / sequence / f"{frame}{ending}"


def read_krt(path: Path) -> dict[str, MultifaceCamera]:
    """Read the cameras of a ``KRT`` file.

    Raises:
        AssetError: it is not one.
    """
    try:
        blocks = [block.splitlines() for block in path.read_text().strip().split("\n\n")]
        cameras = {}
        for name, *lines in blocks:
            rows = [[float(word) for word in line.split()] for line in lines]
            K, distortion, pose = np.array(rows[:3]), np.array(rows[3]), np.array(rows[4:])
            if K.shape != (3, 3) or pose.shape != (3, 4):
                raise ValueError(f"camera {name!r} has matrices {K.shape} and {pose.shape}")
            extrinsics = torch.eye(4, dtype=torch.float64)
            extrinsics[:3] = torch.from_numpy(pose)
            extrinsics[:3, 3] *= _MILLIMETRE
            cameras[name.strip()] = MultifaceCamera(
                torch.from_numpy(K).float(), distortion, extrinsics.float()
            )
    except (OSError, ValueError, IndexError) as error:
        raise AssetError(
            f"cannot read {path} ({error}); each camera of a KRT file is its name, 3 lines of intrinsics, 1 of "
            "distortion, 3 of extrinsics and an empty line."
        ) from error
    return cameras
