"""Triangle meshes: connectivity, normals, decimation, spirals, closest points and files."""

from facezoo.mesh.decimation import Decimation, Upsampling, quadric_decimation, upsampling
from facezoo.mesh.io import read_mesh, write_mesh
from facezoo.mesh.mesh import Mesh
from facezoo.mesh.normals import face_normals, vertex_normals
from facezoo.mesh.spirals import spiral_indices
from facezoo.mesh.subsets import nested_subsets

__all__ = [
    "Decimation", "Mesh", "Upsampling", "face_normals", "nested_subsets", "quadric_decimation", "read_mesh",
    "spiral_indices", "upsampling", "vertex_normals", "write_mesh",
]  # fmt: skip
