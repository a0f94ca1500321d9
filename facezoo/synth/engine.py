"""The synthetic-people engine: a seed in, a picture with exact labels out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facezoo.geometry.rotations import axis_angle_to_matrix
from facezoo.heads.visible_contour import visible_contour
from facezoo.render.visibility import visibility
from facezoo.synth.background import sample_background
from facezoo.synth.hair import grow_beard, grow_hair
from facezoo.synth.layout import TEXTURE_SIZE, stage
from facezoo.synth.lights import frontal_light, sample_lights
from facezoo.synth.occluders import composite, sample_occluder
from facezoo.synth.people import Person, sample_person
from facezoo.synth.poses import Pose, sample_pose
from facezoo.synth.scene import Look, Photographer, to_srgb
from facezoo.synth.sensor import apply_sensor
from facezoo.synth.shells import Piece
from facezoo.synth.skin_paint import SkinTraits, paint_albedo, sample_traits
from facezoo.synth.wear import glasses, hat, mask, torso

VERSION = "people-1"
SUPERSAMPLING = 1.25
SHARED_SKIN = 4  # neighbouring seeds wear the same skin texture: painting is half the cost of a picture


class Sample(NamedTuple):
    """One picture and its labels; the shard format's row (``facezoo.data.shards``).

    Attributes:
        image: (S, S, 3) uint8 sRGB.
        points: (1609, 2) pixels; lm68, lm68_contour: (68, 2) pixels; visible: (1609,) bool.
        box: (4,) tight around lm68.
        identity, expression, jaw: the head's parameters; R (3, 3), t (3,), K (3, 3) of the picture.
        seed: the seed.
    """

    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    lm68: NDArray[np.float32]
    lm68_contour: NDArray[np.float32]
    visible: NDArray[np.bool_]
    box: NDArray[np.float32]
    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    jaw: NDArray[np.float32]
    R: NDArray[np.float32]
    t: NDArray[np.float32]
    K: NDArray[np.float32]
    seed: int


@lru_cache(maxsize=8)
def _skin(seed: int) -> tuple[SkinTraits, NDArray, NDArray]:
    rng = np.random.default_rng([seed, 77])
    # Every tone occurs; a uniform draw of melanin would leave light skin rare.
    traits = sample_traits(rng, melanin=float(rng.beta(0.9, 1.7)))
    texture = paint_albedo(rng, stage().layout, TEXTURE_SIZE, traits)
    return traits, texture.albedo.astype(np.float32), texture.specular.astype(np.float32)


def _look(rng: np.random.Generator, traits: SkinTraits, albedo: NDArray, gloss: NDArray) -> Look:
    tint = np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.1)).astype(np.float32)
    irises = np.array([[0.028, 0.014, 0.007], [0.07, 0.035, 0.014], [0.12, 0.08, 0.03], [0.10, 0.12, 0.07], [0.10, 0.16, 0.24], [0.18, 0.22, 0.25]])
    odds = np.array([0.34, 0.28, 0.12, 0.08, 0.12, 0.06]) if traits.melanin < 0.5 else np.array([0.7, 0.24, 0.04, 0.01, 0.005, 0.005])
    iris = irises[rng.choice(6, p=odds / odds.sum())] * np.exp(rng.normal(0, 0.25))
    white = np.array([0.62, 0.58, 0.54]) * rng.uniform(0.6, 1.05)
    teeth = np.array([0.72, 0.66, 0.54]) * rng.uniform(0.45, 1.1) * np.array([1, 1, rng.uniform(0.75, 1.1)])
    inner = np.array([0.30, 0.09, 0.08]) * np.exp(-1.1 * traits.melanin) * np.exp(rng.normal(0, 0.15))
    return Look(np.clip(albedo * tint, 0, 0.95), gloss * rng.uniform(0.4, 1.6), iris, float(rng.uniform(7, 15)), white, teeth, inner, 0.5)


def _exposure(rng: np.random.Generator, linear: Tensor, depth: Tensor) -> float:
    """Gain of a camera that meters partly on the face."""
    seen = linear[depth > 0]
    level = float((seen @ torch.tensor([0.2126, 0.7152, 0.0722])).clamp(max=2).mean()) if len(seen) else 0.2
    return float(np.clip((0.2 / max(level, 1e-3)) ** 0.6, 0.4, 6.0) * np.exp(rng.normal(0, 0.22)))


def _rotation(rng: np.random.Generator, pose: Pose) -> Tensor:
    """Head relative to the torso: people turn their heads, so part of the pose is the neck's."""
    yaw = np.clip(0.45 * pose.yaw + rng.normal(0, 0.15), -0.8, 0.8)
    pitch, roll = rng.normal(0, 0.12), rng.normal(0, 0.08)
    return axis_angle_to_matrix(torch.tensor([[pitch, yaw, roll]], dtype=torch.float32))[0]


def render_sample(seed: int, size: int = 176, fill: tuple[float, float] = (0.46, 0.60)) -> Sample:
    """Render one person; the same seed gives the same bytes on any worker.

    Args:
        seed: any non-negative integer. Test sets use seeds that no training touches (``TEST_SEEDS``).
        size: side of the square picture in pixels.
        fill: range of the face's share of the picture.
    """
    rng = np.random.default_rng([seed, 1])
    place = stage()
    head = place.head
    traits, albedo, gloss = _skin(seed // SHARED_SKIN)
    sex = "male" if traits.masculine > 0.5 else "female"
    person = sample_person(rng, head, sex)
    look = _look(rng, traits, albedo, gloss)
    with torch.no_grad():
        params = person.params()
        out = head(params)
        vertices, joints = out.vertices[0], out.joints[0]
        aim = head.landmarks(out.vertices, "ibug68")[0, 27:31].mean(0)
        n = int(round(size * SUPERSAMPLING))
        pose = sample_pose(rng, (n, n), centre=tuple(float(c) for c in aim), fill=fill)
        R, t, K = (torch.from_numpy(np.asarray(a)).float() for a in (pose.R, pose.t, pose.K))
        # The sampled rotation is the head's; the torso and the neck's foot turn back.
        nod = _rotation(rng, pose)
        posed = _bend_neck(place, vertices, joints, nod)
        pieces = _dress(rng, place, vertices, traits, look, sex)
        camera = posed @ R.T + t
        placed = [(p, v @ R.T + t) for p, v in pieces]
        chest = torso(rng, tuple(float(c) for c in look.albedo[place.layout.mask].mean(0)))
        pivot = joints[1]
        placed.append((chest, ((chest.vertices - pivot) @ nod + pivot) @ R.T + t))
        rig = sample_lights(rng)
        background = torch.from_numpy(sample_background(rng, (n, n)))
        artist = Photographer(rng, place, rig, look, K, n)
        linear, depth = artist.picture(background, camera, placed)
        image = to_srgb(linear * _exposure(rng, linear, depth))
        image = functional.interpolate(image.permute(2, 0, 1)[None], size=(size, size), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        scale = size / n
        K = K.clone()
        K[:2] *= scale
        screen = artist.screen(camera)[0]
        screen = torch.cat([screen[:, :2] * scale, screen[:, 2:]], 1)
        dense = head.topology.subsets[1609]
        visible = visibility(screen[None], head.topology.faces, resolution=160)[0, dense]
        lm = head.landmarks(camera[None], "ibug68")
        contour = visible_contour(head, camera[None], R[None])
        project = torch.cat([lm[0], contour[0]]) @ K.T
        project = (project[:, :2] / project[:, 2:]).numpy()
    lm68 = project[:68]
    lm68_contour = np.concatenate([project[68:], lm68[17:]])
    box = np.concatenate([lm68.min(0), lm68.max(0)])
    picture = image.numpy()
    if rng.random() < 0.28:
        level = np.clip(frontal_light(rig), 0.05, 1.5)
        picture = composite(picture, sample_occluder(rng, (size, size), tuple(box), light=tuple(float(x) for x in level**0.45)))
    picture = apply_sensor(rng, picture)
    return Sample(
        (picture * 255 + 0.5).astype(np.uint8), screen[dense, :2].numpy(), lm68, lm68_contour, visible.numpy(), box.astype(np.float32),
        person.identity, person.expression, person.jaw, R.numpy(), t.numpy(), K.numpy(), seed,
    )  # fmt: skip


def _bend_neck(place, vertices: Tensor, joints: Tensor, nod: Tensor) -> Tensor:  # noqa: ANN001
    """Keep the head and turn everything that the root moves back by ``nod`` about the neck's joint."""
    root = place.head.weights[:, :1]
    turned = (vertices - joints[1]) @ nod + joints[1]
    return vertices * (1 - root) + turned * root


def _dress(rng: np.random.Generator, place, vertices: Tensor, traits: SkinTraits, look: Look, sex: str) -> list[tuple[Piece, Tensor]]:  # noqa: ANN001
    """Hair, beard, glasses, hat and mask in the head's frame."""
    pieces: list[Piece] = grow_beard(rng, place, vertices, traits)
    limit = None
    if rng.random() < 0.14:
        worn, limit = hat(rng, place, vertices)
        pieces += worn
    if limit is None or limit > -0.5:
        for p in grow_hair(rng, place, vertices, traits, sex == "female"):
            if limit is not None:
                p.edge = torch.minimum(p.edge, limit - p.vertices[:, 1])
            pieces.append(p)
    if rng.random() < 0.2:
        pieces += glasses(rng, place, vertices)
    if rng.random() < 0.03:
        pieces += mask(rng, place, vertices)
    return [(p, p.vertices) for p in pieces]


TEST_SEEDS = range(900_000_000, 900_002_000)
VALIDATION_SEEDS = range(910_000_000, 910_001_000)


def render_batch(seeds: Sequence[int], size: int = 176) -> dict[str, NDArray]:
    """Render several people and stack them as shard arrays (images as (N, 3, S, S))."""
    samples = [render_sample(int(s), size) for s in seeds]
    out = {name: np.stack([np.asarray(getattr(s, name)) for s in samples]) for name in Sample._fields if name != "image"}
    out["images"] = np.stack([s.image for s in samples]).transpose(0, 3, 1, 2)
    return out


__all__ = ["Person", "Sample", "TEST_SEEDS", "VALIDATION_SEEDS", "VERSION", "render_batch", "render_sample"]
