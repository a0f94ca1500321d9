"""Sequences of meshes with one topology: a folder of mesh files, an NPZ of all frames, or a GLB's morph targets."""

from __future__ import annotations

import dataclasses
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import AssetError, InputError, unknown_name
from facezoo.mesh.io import MESH_SUFFIXES, read_mesh, write_mesh
from facezoo.mesh.io.atomic import write_bytes
from facezoo.mesh.io.source import build_mesh, damaged, read_bytes
from facezoo.mesh.mesh import Mesh

SEQUENCE_SUFFIXES = (".obj", ".ply", ".glb", ".npz")


@dataclass(frozen=True, eq=False)
class MeshSequence:
    """Frames of one topology.

    Attributes:
        names: one a frame, in order.
        vertices: (N, V, 3) float32, as stored.
        mesh: the first frame with all it carries: faces, texture coordinates, texture.
    """

    names: tuple[str, ...]
    vertices: NDArray[np.float32]
    mesh: Mesh

    def __len__(self) -> int:
        return len(self.names)

    def frame(self, index: int, vertices: NDArray[np.float32] | None = None) -> Mesh:
        """Return one frame, or the mesh of other vertices (V, 3) with its name; normals are left out, for they turn."""
        chosen = self.vertices[index] if vertices is None else vertices
        return dataclasses.replace(
            self.mesh, vertices=chosen, normals=None, morph_targets={}, name=self.names[index]
        )

    def moved(self, vertices: NDArray[np.float32]) -> MeshSequence:
        """Return the sequence with other positions (N, V, 3)."""
        if vertices.shape != self.vertices.shape:
            raise InputError(f"vertices must be {self.vertices.shape}, got {vertices.shape}")
        return MeshSequence(self.names, vertices, self.frame(0, vertices[0]))


def read_sequence(path: str | os.PathLike) -> MeshSequence:
    """Read a sequence.

    * A folder of OBJ, PLY, GLB or NPZ files, one mesh each, in the order a person counts (``f2`` before ``f10``).
    * An NPZ file with ``vertices`` (N, V, 3) and ``faces`` (F, 3), perhaps ``names`` (N,).
    * A GLB file with morph targets: the mesh itself is the first frame, each target another one.

    Raises:
        AssetError: a file is missing or damaged, there is none, or one of them has another topology (named).
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() == ".npz":
        return _npz(path)
    if path.suffix.lower() == ".glb":
        mesh = read_mesh(path)
        frames = [mesh.vertices, *(mesh.vertices + offsets for offsets in mesh.morph_targets.values())]
        return MeshSequence((mesh.name, *mesh.morph_targets), np.stack(frames), mesh)
    if not path.exists():
        raise AssetError(f"there is no {path}; give a folder of meshes, an .npz or a .glb file")
    raise unknown_name(
        "sequence format", path.suffix or str(path), (".npz", ".glb"), "Or give a folder of meshes."
    )


def write_sequence(folder: str | os.PathLike, sequence: MeshSequence, suffix: str = ".obj") -> list[Path]:
    """Write one file a frame, named as the frames are; ``"npz"`` as well as ``".npz"`` will do.

    Raises:
        UnknownNameError: no mesh format.
        InputError: the folder cannot be written.
    """
    suffix = suffix if suffix.startswith(".") else f".{suffix}"
    if suffix not in MESH_SUFFIXES:
        raise unknown_name("mesh format", suffix, MESH_SUFFIXES)
    return [
        write_mesh(Path(folder) / f"{_file_name(name)}{suffix}", sequence.frame(i))
        for i, name in enumerate(sequence.names)
    ]


def write_sequence_npz(path: str | os.PathLike, sequence: MeshSequence) -> Path:
    """Write all frames into one file that :func:`read_sequence` reads."""
    buffer = io.BytesIO()
    np.savez(buffer, vertices=sequence.vertices, faces=sequence.mesh.faces, names=np.array(sequence.names))
    return write_bytes(path, buffer.getvalue())


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sorting key that counts numbers inside names."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name.lower()) if part
    ]


def _folder(folder: Path) -> MeshSequence:
    found = [
        p for p in folder.iterdir() if p.suffix.lower() in SEQUENCE_SUFFIXES and not p.name.startswith(".")
    ]
    kinds = sorted({p.suffix.lower() for p in found})
    if not found:
        raise AssetError(f"{folder} holds no meshes; expected files ending in {', '.join(SEQUENCE_SUFFIXES)}")
    if len(kinds) > 1:
        raise AssetError(
            f"{folder} holds files of several kinds ({', '.join(kinds)}); keep one kind, or move the others"
        )
    files = sorted(found, key=lambda p: natural_key(p.stem))
    if len(files) == 1 and kinds[0] in (".npz", ".glb"):
        return read_sequence(files[0])
    first = read_mesh(files[0])
    frames = [first.vertices]
    for file in files[1:]:
        mesh = read_mesh(file)
        if mesh.vertices.shape != first.vertices.shape or not np.array_equal(mesh.faces, first.faces):
            raise AssetError(
                f"{file} has {len(mesh.vertices)} vertices and {len(mesh.faces)} faces of its own, {files[0].name} has "
                f"{len(first.vertices)} and {len(first.faces)}: a sequence has one topology (register the scans first)"
            )
        frames.append(mesh.vertices)
    return MeshSequence(tuple(file.stem for file in files), np.stack(frames), first)


def _npz(path: Path) -> MeshSequence:
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        damaged(path, f"not a readable NPZ archive ({error})")
    if not {"vertices", "faces"} <= set(arrays):
        damaged(
            path,
            f"needs arrays vertices (N, V, 3) and faces (F, 3); it holds {', '.join(sorted(arrays)) or 'nothing'}",
        )
    vertices = arrays["vertices"]
    vertices = vertices[None] if vertices.ndim == 2 else vertices
    if vertices.ndim != 3 or not len(vertices):
        damaged(path, f"vertices must be (N, V, 3), found {arrays['vertices'].shape}")
    names = (
        [str(n) for n in arrays["names"]]
        if "names" in arrays
        else [f"frame{i:05d}" for i in range(len(vertices))]
    )
    if len(names) != len(vertices) or len(set(names)) != len(names):
        damaged(path, f"{len(names)} names for {len(vertices)} frames, or a name twice")
    meshes = [
        build_mesh(path, vertices=frame, faces=arrays["faces"], name=name)
        for frame, name in zip(vertices, names, strict=True)
    ]
    return MeshSequence(tuple(names), np.stack([mesh.vertices for mesh in meshes]), meshes[0])


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "frame"
