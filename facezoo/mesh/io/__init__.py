"""Mesh files: OBJ, PLY, GLB, USDA and NPZ, chosen by suffix."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from facezoo.errors import unknown_name
from facezoo.mesh.io.glb import write_glb
from facezoo.mesh.io.glb_reader import read_glb
from facezoo.mesh.io.npz import read_npz, write_npz
from facezoo.mesh.io.obj import read_obj, write_obj
from facezoo.mesh.io.ply import read_ply, write_ply
from facezoo.mesh.io.usda import write_usda
from facezoo.mesh.mesh import Mesh

__all__ = [
    "MESH_SUFFIXES", "read_glb", "read_mesh", "read_npz", "read_obj", "read_ply", "write_glb", "write_mesh",
    "write_npz", "write_obj", "write_ply", "write_usda",
]  # fmt: skip

_WRITERS: dict[str, Callable[[str | os.PathLike, Mesh], Path]] = {
    ".obj": write_obj, ".ply": write_ply, ".glb": write_glb, ".usda": write_usda, ".npz": write_npz,
}  # fmt: skip
_READERS: dict[str, Callable[[str | os.PathLike], Mesh]] = {
    ".obj": read_obj, ".ply": read_ply, ".glb": read_glb, ".npz": read_npz,
}  # fmt: skip
MESH_SUFFIXES = tuple(_WRITERS)


def write_mesh(path: str | os.PathLike, mesh: Mesh) -> Path:
    """Write a mesh in the format its suffix names; the file appears whole or not at all.

    ======  =========  ==  =======  =======  =======  =============
    suffix  positions  UV  normals  colours  texture  morph targets
    ======  =========  ==  =======  =======  =======  =============
    .obj    yes        yes yes      yes      beside   no
    .ply    yes        no  yes      8 bits   no       no
    .glb    yes        yes yes      yes      inside   yes
    .usda   yes        yes yes      yes      beside   yes
    .npz    yes        yes yes      yes      inside   yes
    ======  =========  ==  =======  =======  =======  =============

    Returns:
        The path written.

    Raises:
        UnknownNameError: another suffix.
        InputError: the place is not writable, or GLB and a mesh without faces.
    """
    return _choose(path, _WRITERS, "write")(path, mesh)


def read_mesh(path: str | os.PathLike) -> Mesh:
    """Read a mesh from .obj, .ply, .glb or .npz.

    Raises:
        UnknownNameError: another suffix.
        AssetError: missing or damaged file.
    """
    return _choose(path, _READERS, "read")(path)


def _choose(path: str | os.PathLike, table: dict[str, Callable], action: str) -> Callable:
    suffix = Path(path).suffix.lower()
    if suffix not in table:
        raise unknown_name("mesh format", suffix or os.fspath(path), table, f"Choose one to {action}.")
    return table[suffix]
