"""USD in its text form: a mesh with UV, texture, vertex colours and blend shapes, without any USD library."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facezoo.mesh.io.animation import Animation
from facezoo.mesh.io.atomic import write_bytes
from facezoo.mesh.io.colour import srgb_to_linear
from facezoo.mesh.io.source import encode_texture
from facezoo.mesh.io.usda_animation import binding_lines, pose_lines, skeleton_lines, stage_times
from facezoo.mesh.mesh import Mesh


def write_usda(
    path: str | os.PathLike, mesh: Mesh, animation: Animation | None = None, comment: str = ""
) -> Path:
    """Write a USDA file (metres, y up); with a texture also ``NAME.png`` beside it.

    Morph targets become ``BlendShape`` prims below the mesh, bound by ``skel:blendShapes``; only vertices
    that move are listed. Prim names must be identifiers: other characters turn into ``_``.

    Args:
        path: where to write.
        mesh: what to write.
        animation: plays its morph targets and moves it; time codes are frames.
        comment: of the file, e.g. a licence.

    Returns:
        The path of the USDA; it is written last.

    Raises:
        InputError: the animation does not fit the mesh, or the place is not writable.
    """
    if animation is not None:
        animation.check(len(mesh.morph_targets))
    target = Path(path)
    textured = mesh.texture is not None
    shapes = _identifiers(list(mesh.morph_targets))
    root = _identifiers([mesh.name])[0]
    schemas = [s for s, use in (("SkelBindingAPI", shapes), ("MaterialBindingAPI", textured)) if use]
    applied = f" (\n        prepend apiSchemas = [{', '.join(_quoted(schemas))}]\n    )" if schemas else ""
    corners = mesh.faces.ravel()
    header = f"    doc = {json.dumps(comment, ensure_ascii=False)}\n" if comment else ""
    header += stage_times(animation) if animation is not None else ""
    lines = [
        "#usda 1.0",
        f'(\n    defaultPrim = "{root}"\n    metersPerUnit = 1\n    upAxis = "Y"\n{header})\n',
        f'def {"SkelRoot" if shapes else "Xform"} "{root}"\n{{',
        *([] if animation is None else pose_lines(animation)),
        f'    def Mesh "mesh"{applied}\n    {{',
        "        uniform bool doubleSided = 1",
        f"        int[] faceVertexCounts = [{', '.join(['3'] * len(mesh.faces))}]",
        f"        int[] faceVertexIndices = [{', '.join(map(str, corners.tolist()))}]",
        f"        point3f[] points = {_tuples(mesh.vertices)}",
        '        uniform token subdivisionScheme = "none"',
    ]
    if len(mesh.vertices):
        extent = np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)])
        lines.append(f"        float3[] extent = {_tuples(extent)}")
    if mesh.normals is not None:
        lines.append(f"        normal3f[] normals = {_tuples(mesh.normals)} ({_interpolation('vertex')})")
    if mesh.colours is not None:
        colours = _tuples(srgb_to_linear(mesh.colours))
        lines.append(f"        color3f[] primvars:displayColor = {colours} ({_interpolation('vertex')})")
    if mesh.uv is not None and mesh.uv_faces is not None:
        indices = ", ".join(map(str, mesh.uv_faces.ravel().tolist()))
        lines.append(
            f"        texCoord2f[] primvars:st = {_tuples(mesh.uv)} ({_interpolation('faceVarying')})"
        )
        lines.append(f"        int[] primvars:st:indices = [{indices}]")
    if textured:
        lines.append(f"        rel material:binding = </{root}/material>")
    if shapes:
        lines.append(f"        uniform token[] skel:blendShapes = [{', '.join(_quoted(shapes))}]")
        targets = ", ".join(f"</{root}/mesh/{shape}>" for shape in shapes)
        lines.append(f"        rel skel:blendShapeTargets = [{targets}]")
        lines += [] if animation is None else binding_lines(root)
    for shape, offsets in zip(shapes, mesh.morph_targets.values(), strict=True):
        moving = np.flatnonzero(offsets.any(axis=1))
        lines += [
            f'\n        def BlendShape "{shape}"\n        {{',
            f"            uniform vector3f[] offsets = {_tuples(offsets[moving])}",
            f"            uniform int[] pointIndices = [{', '.join(map(str, moving.tolist()))}]",
            "        }",
        ]
    lines.append("    }")
    if shapes and animation is not None:
        lines += skeleton_lines(root, shapes, animation)
    if textured and mesh.texture is not None:
        write_bytes(target.with_suffix(".png"), encode_texture(mesh.texture))
        lines.append(_MATERIAL.format(root=root, image=target.with_suffix(".png").name))
    lines.append("}")
    return write_bytes(target, ("\n".join(lines) + "\n").encode())


_MATERIAL = """
    def Material "material"
    {{
        token outputs:surface.connect = </{root}/material/surface.outputs:surface>

        def Shader "surface"
        {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor.connect = </{root}/material/image.outputs:rgb>
            float inputs:metallic = 0
            float inputs:roughness = 0.8
            token outputs:surface
        }}

        def Shader "image"
        {{
            uniform token info:id = "UsdUVTexture"
            asset inputs:file = @./{image}@
            token inputs:sourceColorSpace = "sRGB"
            float2 inputs:st.connect = </{root}/material/st.outputs:result>
            float3 outputs:rgb
        }}

        def Shader "st"
        {{
            uniform token info:id = "UsdPrimvarReader_float2"
            string inputs:varname = "st"
            float2 outputs:result
        }}
    }}"""


def _interpolation(kind: str) -> str:
    return f'\n            interpolation = "{kind}"\n        '


def _tuples(values: NDArray[np.float32]) -> str:
    """Format rows as USD tuples, in the shortest digits that read back to the same float32."""
    rows = values.astype(np.float32).astype(str).tolist()
    return "[" + ", ".join(f"({', '.join(row)})" for row in rows) + "]"


def _quoted(names: list[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _identifiers(names: list[str]) -> list[str]:
    """Turn names into distinct USD identifiers."""
    result: list[str] = []
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
        base = "_" + base if base[0].isdigit() else base
        unique, k = base, 1
        while unique in result:
            unique, k = f"{base}_{k}", k + 1
        result.append(unique)
    return result
