"""Put a person together and take the picture: meshes, light, shadows, soft hair, sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional

from facezoo.mesh.normals import vertex_normals
from facezoo.render.bump import bumped_normals, texture_gradient, texture_tangents
from facezoo.render.interpolation import interpolate
from facezoo.render.rasterizer import Fragments, rasterize
from facezoo.render.shading import linear_to_srgb, shade_sh, srgb_to_linear
from facezoo.render.shadow import shadow
from facezoo.render.texture import sample_texture
from facezoo.synth import noise
from facezoo.synth.layout import Stage
from facezoo.synth.lights import LightRig
from facezoo.synth.shells import Piece

_CAVITY = torch.tensor([220.0, 290.0, 310.0])[:, None, None]  # share of light lost per metre of depth: a quarter at 0.8 mm
_VIEW = torch.tensor([1.0, -1.0, -1.0])  # camera axes (OpenCV) to the lights' frame (y up, z to the viewer)


@dataclass
class Look:
    """How the person's own surface is coloured.

    Attributes:
        albedo: (S, S, 3) linear skin texture; gloss: (S, S).
        iris: (3,) linear colour; pupil: radius in degrees of the eyeball; sclera: (3,).
        teeth: (3,) linear colour; lip_inner: (3,).
        relief: (R, R) metres along the normal, row 0 at v = 1; None for skin as smooth as the mesh.
        bare: (R, R) 0..1 which texels are facial skin; with a relief the photographer keeps track of where it is seen.
    """

    albedo: np.ndarray
    gloss: np.ndarray
    iris: np.ndarray
    pupil: float
    sclera: np.ndarray
    teeth: np.ndarray
    lip_inner: np.ndarray
    relief: np.ndarray | None = None
    bare: np.ndarray | None = None


def interior_colours(stage: Stage, look: Look) -> tuple[Tensor, Tensor]:
    """Colour (V, 3) of the mouth's and nostrils' inside and how much of it replaces the skin texture (V,)."""
    colour, weight = torch.zeros(len(stage.part), 3), torch.zeros(len(stage.part))
    mouth = stage.is_part("mouth")
    gum, dark = look.lip_inner * np.array([1.0, 0.75, 0.75]), look.lip_inner * 0.25
    rings = {1: look.lip_inner, 2: gum * 0.6, 3: look.teeth * 0.75, 4: look.teeth, 5: look.lip_inner * 0.3, 6: dark, 7: dark * 0.3, 8: dark * 0.1}
    for ring, c in rings.items():
        rows = torch.from_numpy(mouth & (stage.ring == ring))
        colour[rows] = torch.tensor(np.asarray(c, np.float32))
        weight[rows] = 1.0
    eyes = torch.from_numpy(stage.is_part("eye_left", "eye_right") & (stage.ring >= 1))
    colour[eyes], weight[eyes] = torch.tensor(look.lip_inner * np.array([1.1, 0.9, 0.85]), dtype=torch.float32), 0.8
    nostrils = torch.from_numpy(stage.is_part("nostril_left", "nostril_right"))
    colour[nostrils], weight[nostrils] = torch.tensor(look.lip_inner * 0.12, dtype=torch.float32), 1.0
    return colour, weight


def _eye_colour(direction: Tensor, look: Look, rng: np.random.Generator) -> Tensor:
    """Albedo (N, 3) of eyeball points from their rest direction (N, 3) out of the eye's centre."""
    polar = torch.rad2deg(torch.arccos(direction[:, 2].clamp(-1, 1)))
    around = torch.atan2(direction[:, 1], direction[:, 0])
    spokes = torch.zeros_like(around)
    for _ in range(4):
        spokes += torch.cos(around * float(rng.integers(9, 40)) + rng.uniform(0, 6) + polar * rng.uniform(-0.1, 0.1)) / 4
    iris = torch.tensor(look.iris, dtype=torch.float32)
    sclera = torch.tensor(look.sclera, dtype=torch.float32)
    t = ((polar - look.pupil) / (29.4 - look.pupil)).clamp(0, 1)
    shade = (0.75 + 0.5 * t * (1 - t) * 2) * (1 + 0.25 * spokes)
    colour = iris * shade[:, None]
    rim = torch.sigmoid((polar - 27.0) / 1.2)
    colour = colour * (1 - 0.65 * rim[:, None])
    white = torch.sigmoid((polar - 29.6) / 0.8)[:, None]
    red = 1 - torch.tensor([0.05, 0.28, 0.3]) * ((polar - 45) / 45).clamp(0, 1)[:, None]
    colour = colour * (1 - white) + sclera * red * white
    colour = colour * (1 - torch.sigmoid((look.pupil - polar) / 0.8))[:, None] + 0.004
    return colour


def relief_maps(relief: np.ndarray, bare: np.ndarray) -> Tensor:
    """What shading reads of a displacement (R, R) in metres: (1, 6, R, R) gradient along u and v, light in cavities, skin.

    The bottom of a narrow valley sees less of the sky, and what it sees is light that skin has reddened.
    """
    height = torch.from_numpy(relief)
    hollow = torch.from_numpy(uniform_filter(relief, round(len(relief) / 40), mode="nearest") - relief)
    shade = (1 - _CAVITY * hollow.clamp(-0.0002, 0.0012)[None]).clamp(0.3, 1.1)
    return torch.cat([texture_gradient(height), shade, torch.from_numpy(bare)[None]])[None]


def _lit(
    albedo: Tensor, gloss: Tensor, power: Tensor, normals: Tensor, view: Tensor, rig: LightRig, factors: list[Tensor],
    ambient: Tensor, wrap: float,
) -> Tensor:  # fmt: skip
    """Shade points (N, 3): environment with occlusion, lights with shadow factors, wrapped diffuse and highlights."""
    sh = torch.from_numpy(rig.environment)[None]
    light = shade_sh(normals[None], sh)[0].clamp(min=0) * ambient[:, None]
    shine = torch.zeros_like(light)
    for direction, colour, lit in zip(rig.directions, rig.colours, factors, strict=True):
        d, c = torch.from_numpy(direction), torch.from_numpy(colour)
        cosine = normals @ d
        diffuse = ((cosine + wrap) / (1 + wrap)).clamp(min=0) * lit
        # Light that bleeds through skin is red.
        bleed = ((cosine + wrap) / (1 + wrap)).clamp(min=0) - cosine.clamp(min=0)
        light = light + (diffuse[:, None] + wrap * bleed[:, None] * torch.tensor([0.5, 0.05, 0.0])) * c
        half = functional.normalize(view + d, dim=1)
        highlight = (normals * half).sum(-1).clamp(min=0) ** power * (cosine > 0) * lit
        shine = shine + highlight[:, None] * c
    env_shine = shade_sh(functional.normalize(2 * (normals * view).sum(-1, keepdim=True) * normals - view, dim=-1)[None], sh)[0].clamp(min=0)
    fresnel = 0.04 + 0.5 * (1 - (normals * view).sum(-1).clamp(0, 1)) ** 5
    return albedo * light + gloss[:, None] * (0.35 * shine + env_shine * fresnel[:, None])


def _pixels(fragments: Fragments) -> Tensor:
    return torch.nonzero(fragments.face_index[0].reshape(-1) >= 0)[:, 0]


class Photographer:
    """Render one person's pieces with one camera and one light rig."""

    def __init__(self, rng: np.random.Generator, stage: Stage, rig: LightRig, look: Look, K: Tensor, size: int) -> None:
        self.rng, self.stage, self.rig, self.look, self.K, self.size = rng, stage, rig, look, K, size
        self.bare = torch.zeros(size * size)  # share of each pixel that shows facial skin, when the look has a relief

    def screen(self, camera: Tensor) -> Tensor:
        """Project camera-space points (V, 3) to (1, V, 3) pixels and depth."""
        p = camera @ self.K.T
        return torch.cat([p[:, :2] / p[:, 2:3].clamp(min=1e-6), camera[:, 2:3]], 1)[None]

    def picture(self, background: Tensor, head: Tensor, pieces: list[tuple[Piece, Tensor]]) -> tuple[Tensor, Tensor]:
        """Compose everything.

        Args:
            background: (S, S, 3) sRGB.
            head: (V, 3) head vertices in camera space.
            pieces: each piece with its vertices in camera space.

        Returns:
            (S, S, 3) linear picture, (S, S) opaque depth of the bare head (0 where none).
        """
        stage, n = self.stage, self.size
        solid = [(p, v) for p, v in pieces if p.kind in ("cloth", "plain") and p.fuzz == 0]
        soft = [(p, v) for p, v in pieces if p.kind == "hair" or (p.kind == "cloth" and p.fuzz > 0)]
        glass = [(p, v) for p, v in pieces if p.kind == "glass"]
        head_faces = stage.head.topology.faces
        casters_v = torch.cat([head, *(v for _, v in solid), *(v for _, v in soft)])
        offsets = np.cumsum([0, len(head), *(len(v) for _, v in solid), *(len(v) for _, v in soft)])
        parts = [head_faces, *(p.faces + int(o) for (p, _), o in zip([*solid, *soft], offsets[1:-1], strict=True))]
        casters = (casters_v * _VIEW)[None], torch.cat(parts)

        image = srgb_to_linear(background.reshape(-1, 3))
        zbuffer = torch.full((n * n,), torch.inf)
        depth = self._head(head, image, zbuffer, casters)
        for piece, v in solid:
            self._piece(piece, v, image, zbuffer, casters, write=True)
        for piece, v in soft:
            self._piece(piece, v, image, zbuffer, casters, write=False)
        for piece, v in glass:
            self._piece(piece, v, image, zbuffer, casters, write=False)
        return image.reshape(n, n, 3), depth

    def _shadows(self, casters: tuple[Tensor, Tensor], points: Tensor, normals: Tensor) -> list[Tensor]:
        """Cast shadows of the strongest light; the others fill in."""
        strength = self.rig.colours.sum(-1)
        out = []
        for k, (d, s) in enumerate(zip(self.rig.directions, self.rig.softness, strict=True)):
            if k != int(strength.argmax()):
                out.append(torch.ones(len(points)))
                continue
            out.append(shadow(*casters, torch.from_numpy(d)[None], (points * _VIEW)[None], normals=normals[None],
                              softness=0.002 + 0.02 * float(s), bias=0.004, resolution=160)[0])  # fmt: skip
        return out

    def _head(self, head: Tensor, image: Tensor, zbuffer: Tensor, casters: tuple[Tensor, Tensor]) -> Tensor:
        stage, look, n = self.stage, self.look, self.size
        topology = stage.head.topology
        fragments = rasterize(self.screen(head), topology.faces, (n, n), cull_backfaces=True)
        at = _pixels(fragments)
        depth = fragments.depth[0]
        if not len(at):
            return depth
        normals = vertex_normals(head[None], topology.faces)
        inner, weight = interior_colours(stage, look)
        packed = torch.cat([normals[0], head, stage.occlusion[:, None], inner, weight[:, None], stage.rest], 1)
        values = interpolate(fragments, topology.faces, packed)[0].reshape(n * n, -1)[at]
        normal = functional.normalize(values[:, 0:3] * _VIEW, dim=1)
        point, ambient = values[:, 3:6], values[:, 6]
        uv = interpolate(fragments, topology.uv_faces, topology.uv)[0]
        texture = torch.from_numpy(np.concatenate([look.albedo, look.gloss[..., None]], -1)).permute(2, 0, 1)[None].contiguous()
        texel = sample_texture(texture, uv[None])[0].reshape(4, n * n).T[at]
        mix = values[:, 10:11].clamp(0, 1)
        albedo = texel[:, :3] * (1 - mix) + values[:, 7:10] * mix
        smooth = normal
        if look.relief is not None and look.bare is not None:
            tangents = texture_tangents(head, topology.faces, topology.uv, topology.uv_faces)
            tangents = interpolate(fragments, topology.uv_faces, tangents)[0].reshape(n * n, 6)[at]
            bumps = sample_texture(relief_maps(look.relief, look.bare), uv[None])[0].reshape(6, n * n).T[at]
            normal = bumped_normals(normal, torch.cat([tangents[:, :3] * _VIEW, tangents[:, 3:] * _VIEW], 1), bumps[:, :2])
            albedo = albedo * bumps[:, 2:5]
            self.bare[at] = bumps[:, 5]
        gloss = texel[:, 3] * (1 - mix[:, 0]) * 0.55 + 0.5 * mix[:, 0]
        power = torch.full_like(gloss, 18.0) + 30 * mix[:, 0]
        face_part = torch.from_numpy(stage.part)[topology.faces[:, 0]]
        part = face_part[fragments.face_index[0].reshape(-1)[at]]
        balls = [stage.parts.index("eyeball_left"), stage.parts.index("eyeball_right")]
        eye = (part == balls[0]) | (part == balls[1])
        if bool(eye.any()):
            local = values[eye][:, 11:14] - stage.eye_centres[(part[eye] == balls[1]).long()]
            colour = _eye_colour(functional.normalize(local, dim=1), look, self.rng)
            albedo[eye], gloss[eye], power[eye] = colour, 1.1, 160.0
            ambient[eye] = 0.15 + 0.75 * ambient[eye]
        view = functional.normalize(-point * _VIEW, dim=1)
        lit = _lit(albedo, gloss, power, normal, view, self.rig, self._shadows(casters, point, smooth), ambient**0.8, 0.25)
        image[at] = lit
        zbuffer[at] = depth.reshape(-1)[at]
        return depth

    def _piece(self, piece: Piece, v: Tensor, image: Tensor, zbuffer: Tensor, casters: tuple, write: bool) -> None:
        n = self.size
        fragments = rasterize(self.screen(v), piece.faces, (n, n))
        at = _pixels(fragments)
        z = fragments.depth[0].reshape(-1)
        at = at[z[at] < zbuffer[at] + (0.004 if piece.kind == "hair" else 0.0)]
        if not len(at):
            return
        normals = vertex_normals(v[None], piece.faces)[0]
        packed = torch.cat([normals, v, piece.colour, piece.edge[:, None], piece.uv], 1)
        values = interpolate(fragments, piece.faces, packed)[0].reshape(n * n, -1)[at]
        point = values[:, 3:6]
        view = functional.normalize(-point * _VIEW, dim=1)
        normal = functional.normalize(values[:, 0:3] * _VIEW, dim=1)
        facing = (normal * view).sum(1, keepdim=True)
        normal = torch.where(facing < 0, -normal, normal)  # cloth and hair are seen from both sides
        albedo, edge = values[:, 6:9], values[:, 9]
        alpha = torch.full((len(at),), piece.alpha)
        uv = values[:, 10:12]
        if piece.strands or piece.fuzz:
            size = 128
            field = torch.from_numpy(noise.crop(self.rng, "strands", (size, size), float(self.rng.uniform(0.8, 1.6))).copy())
            coarse = torch.from_numpy(noise.crop(self.rng, "fbm", (size, size), 1.0).copy())
            iu = (uv[:, 0] * size * 2.3).long() % size
            iv = (uv[:, 1] * size * 1.1).long() % size
            streak = field[iv, iu]
            albedo = albedo * (1 + piece.strands * 1.6 * (streak - 0.5) + 0.5 * (coarse[iv, iu] - 0.5))[:, None].clamp(0.15, 2.5)
            torn = edge + piece.fuzz * (2 * (0.6 * streak + 0.4 * coarse[iv, iu]) - 1)
            alpha = alpha * (torn / max(0.35 * piece.fuzz, 0.0008)).clamp(0, 1)
            normal = functional.normalize(normal + 0.35 * piece.strands * (streak - 0.5)[:, None] * torch.tensor([1.0, 0.2, 0.0]), dim=1)
        if piece.texture is not None:
            s = piece.texture.shape[0]
            pattern = torch.from_numpy(piece.texture)[(uv[:, 1] * 3 * s).long() % s, (uv[:, 0] * 3 * s).long() % s]
            albedo = albedo * (pattern if pattern.ndim == 2 else pattern[:, None])
        gloss = torch.full((len(at),), piece.gloss)
        power = torch.full((len(at),), 12.0 if piece.kind == "hair" else 40.0)
        ambient = torch.full((len(at),), 0.8) if piece.kind == "cloth" else 0.45 + 0.55 * (edge / 0.03).clamp(0, 1)
        # Small things and hair go unshadowed: nobody sees it, and a shadow costs as much as the piece.
        shaded = piece.kind == "cloth" and piece.fuzz == 0 and len(at) > 2000
        factors = self._shadows(casters, point, normal) if shaded else [torch.ones(len(at))] * len(self.rig.directions)
        lit = _lit(albedo, gloss, power, normal, view, self.rig, factors, ambient, 0.3 if piece.kind == "hair" else 0.0)
        if piece.kind == "glass":
            shine = _lit(albedo * 0, torch.full_like(gloss, 1.0), torch.full_like(power, 300.0), normal, view, self.rig, factors, ambient, 0.0)
            image[at] = image[at] * (1 - alpha[:, None]) + albedo * 0.3 * alpha[:, None] + 0.7 * shine
        else:
            image[at] = image[at] * (1 - alpha[:, None]) + lit * alpha[:, None]
        self.bare[at] *= 1 - alpha
        if write:
            zbuffer[at] = z[at]
        elif piece.kind != "glass":
            solid = alpha > 0.6
            zbuffer[at[solid]] = torch.minimum(zbuffer[at[solid]], z[at[solid]])


def to_srgb(linear: Tensor) -> Tensor:
    """Develop: soft shoulder above 0.8, then the sRGB curve."""
    x = linear.clamp(min=0)
    x = torch.where(x > 0.8, 0.8 + 0.2 * (1 - torch.exp(-(x - 0.8) / 0.2)), x)
    return linear_to_srgb(x).clamp(0, 1)
