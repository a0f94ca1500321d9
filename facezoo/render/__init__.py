"""Pictures of meshes: rasteriser, interpolation, shading, textures, visibility, shadows. Pure torch, CPU and CUDA."""

from facezoo.render.backend import Rasterizer, choose_rasterizer
from facezoo.render.interpolation import interpolate
from facezoo.render.rasterizer import Fragments, rasterize, rasterize_depth
from facezoo.render.shading import (
    blinn_phong,
    lambert,
    linear_to_srgb,
    sh_basis,
    sh_directional,
    shade_sh,
    srgb_to_linear,
)
from facezoo.render.shadow import shadow
from facezoo.render.texture import bake_uv, sample_texture, uv_fragments
from facezoo.render.visibility import front_facing, visibility

__all__ = [
    "Fragments",
    "Rasterizer",
    "bake_uv",
    "blinn_phong",
    "choose_rasterizer",
    "front_facing",
    "interpolate",
    "lambert",
    "linear_to_srgb",
    "rasterize",
    "rasterize_depth",
    "sample_texture",
    "sh_basis",
    "sh_directional",
    "shade_sh",
    "shadow",
    "srgb_to_linear",
    "uv_fragments",
    "visibility",
]
