"""The synthetic-people engine: a seed in, a picture with exact labels out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facezoo.errors import InputError
from facezoo.geometry.rotations import axis_angle_to_matrix
from facezoo.heads.visible_contour import contour68
from facezoo.render.visibility import visibility
from facezoo.synth.background import sample_background
from facezoo.synth.hair import grow_beard, grow_hair
from facezoo.synth.layout import TEXTURE_SIZE, Stage, stage
from facezoo.synth.lights import frontal_light, sample_lights
from facezoo.synth.occluders import composite, sample_occluder
from facezoo.synth.people import Person, sample_identity, sample_person
from facezoo.synth.poses import Pose, sample_pose
from facezoo.synth.relief import Relief, sample_relief, stored
from facezoo.synth.scene import Look, Photographer, to_srgb
from facezoo.synth.sensor import apply_sensor
from facezoo.synth.shells import Piece
from facezoo.synth.skin_paint import SkinTraits, paint_albedo, sample_traits
from facezoo.synth.wear import glasses, hat, mask, torso

VERSION = "people-3"
RELIEF_VERSION = "people-3r"
SUPERSAMPLING = 1.25
# Linear RGB of irises from dark brown to grey, and how common each is with light and with dark skin.
IRISES = np.array([
    [0.028, 0.014, 0.007], [0.07, 0.035, 0.014], [0.12, 0.08, 0.03], [0.10, 0.12, 0.07], [0.10, 0.16, 0.24], [0.18, 0.22, 0.25],
])  # fmt: skip
IRIS_ODDS = np.array([[0.34, 0.28, 0.12, 0.08, 0.12, 0.06], [0.7, 0.24, 0.04, 0.01, 0.005, 0.005]])
SHARED_SKIN = 4  # neighbouring seeds wear the same skin texture: painting is half the cost of a picture


class Sample(NamedTuple):
    """One picture and its labels; the shard format's row (``facezoo.data.shards``).

    Attributes:
        image: (S, S, 3) uint8 sRGB.
        points: (1609, 2) pixels; lm68, lm68_contour: (68, 2) pixels; visible: (1609,) bool.
        box: (4,) tight around lm68.
        identity, expression, jaw: the head's parameters; R (3, 3), t (3,), K (3, 3) of the picture.
        seed: the seed.
        displacement: (128, 128) millimetres along the coarse normal in the head's texture, row 0 at v = 1; None
            without relief.
        person: number that all pictures of a person share; -1 without relief.
        skin: (S // 4, S // 4) 0..255, share of each block of pixels that shows bare facial skin; None without relief.
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
    displacement: NDArray[np.float16] | None = None
    person: int = -1
    skin: NDArray[np.uint8] | None = None


@lru_cache(maxsize=64)
def _traits(seed: int) -> SkinTraits:
    # Every tone occurs; a uniform draw of melanin would leave light skin rare.
    rng = np.random.default_rng([seed, 77])
    return sample_traits(rng, melanin=float(rng.beta(0.9, 1.7)))


def traits_of(seed: int) -> SkinTraits:
    """Return the skin traits of the person that :func:`render_sample` draws for ``seed``."""
    return _traits(seed // SHARED_SKIN)


@lru_cache(maxsize=8)
def _skin(seed: int) -> tuple[NDArray, NDArray]:
    texture = paint_albedo(np.random.default_rng([seed, 78]), stage().layout, TEXTURE_SIZE, _traits(seed))
    return texture.albedo.astype(np.float32), texture.specular.astype(np.float32)


@lru_cache(maxsize=4)
def _relief_skin(person: int) -> tuple[NDArray, NDArray, Relief]:
    """Skin whose stains lie in the creases of its own relief."""
    traits = _traits(person)
    relief = sample_relief(person, traits)
    creases = np.clip(-relief.static / 0.002 - 0.03, 0, 0.3)
    texture = paint_albedo(np.random.default_rng([person, 78]), stage().layout, TEXTURE_SIZE, traits, creases)
    return texture.albedo.astype(np.float32), texture.specular.astype(np.float32), relief


def _look(rng: np.random.Generator, traits: SkinTraits, albedo: NDArray, gloss: NDArray) -> Look:
    """Tint the texture and draw eyes, teeth and lips."""
    tint = np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.1)).astype(np.float32)
    odds = IRIS_ODDS[0] if traits.melanin < 0.5 else IRIS_ODDS[1]
    iris = IRISES[rng.choice(len(IRISES), p=odds / odds.sum())] * np.exp(rng.normal(0, 0.25))
    white = np.array([0.55, 0.50, 0.46]) * rng.uniform(0.45, 1.0)
    teeth = np.array([0.72, 0.66, 0.54]) * rng.uniform(0.45, 1.1) * np.array([1, 1, rng.uniform(0.75, 1.1)])
    inner = np.array([0.30, 0.09, 0.08]) * np.exp(-1.1 * traits.melanin) * np.exp(rng.normal(0, 0.15))
    shine = rng.uniform(0.4, 1.6)
    return Look(np.clip(albedo * tint, 0, 0.95), gloss * shine, iris, float(rng.uniform(7, 15)), white, teeth, inner)


def _exposure(rng: np.random.Generator, linear: Tensor, depth: Tensor) -> float:
    """Gain of a camera that meters partly on the face."""
    seen = linear[depth > 0]
    level = float((seen @ torch.tensor([0.2126, 0.7152, 0.0722])).clamp(max=2).mean()) if len(seen) else 0.2
    return float(np.clip((0.2 / max(level, 1e-3)) ** 0.6, 0.4, 6.0) * np.exp(rng.normal(0, 0.22)))


def _nod(rng: np.random.Generator, pose: Pose) -> Tensor:
    """Head relative to the torso: people turn their heads, so part of the pose is the neck's."""
    yaw = np.clip(0.45 * pose.yaw + rng.normal(0, 0.15), -0.8, 0.8)
    pitch, roll = rng.normal(0, 0.12), rng.normal(0, 0.08)
    return axis_angle_to_matrix(torch.tensor([[pitch, yaw, roll]], dtype=torch.float32))[0]


class _Shot(NamedTuple):
    """What a seed decides before anything is painted: a person in front of a camera."""

    traits: SkinTraits
    sex: str
    person: Person
    vertices: Tensor  # (V, 3) in the head's frame
    joints: Tensor
    pose: Pose
    R: Tensor
    t: Tensor
    K: Tensor  # of a picture of the rendering size


def _shoot(seed: int, size: int, fill: tuple[float, float], number: int | None = None) -> _Shot:
    """Decide a picture; ``number`` is that of a person who has several, else everything is the seed's own."""
    rng = np.random.default_rng([seed, 1])
    head = stage().head
    traits = _traits(seed // SHARED_SKIN if number is None else number)
    sex = "male" if traits.masculine > 0.5 else "female"
    person = sample_person(rng, head, sex, None if number is None else relief_identity(number))
    out = head(person.params())
    aim = head.landmarks(out.vertices, "ibug68")[0, 27:31].mean(0)
    pose = sample_pose(rng, (size, size), centre=(float(aim[0]), float(aim[1]), float(aim[2])), fill=fill)
    R, t, K = (torch.from_numpy(np.asarray(a)).float() for a in (pose.R, pose.t, pose.K))
    return _Shot(traits, sex, person, out.vertices[0], out.joints[0], pose, R, t, K)


def _labels(seed: int, shot: _Shot, scale: float) -> dict[str, Any]:
    """Exact labels in pixels of the final picture (all of a :class:`Sample` but the image)."""
    head = stage().head
    camera = shot.vertices @ shot.R.T + shot.t
    K = shot.K.clone()
    K[:2] *= scale
    lm = head.landmarks(camera[None], "ibug68")[0]
    contour = contour68(head, camera[None], shot.R[None])[0]
    subset = head.topology.subsets[1609]
    dense = camera[subset]
    pixels = torch.cat([dense, lm, contour]) @ K.T
    points = (pixels[:, :2] / pixels[:, 2:]).numpy()
    screen = camera @ K.T
    screen = torch.cat([screen[:, :2] / screen[:, 2:], camera[:, 2:]], 1)
    visible = visibility(screen[None], head.topology.faces, resolution=160)[0, subset]
    n = len(dense)
    lm68 = points[n : n + 68]
    return {
        "points": points[:n],
        "visible": visible.numpy(),
        "lm68": lm68,
        "lm68_contour": points[n + 68 :],
        "box": np.concatenate([lm68.min(0), lm68.max(0)]),
        "identity": shot.person.identity,
        "expression": shot.person.expression,
        "jaw": shot.person.jaw,
        "R": shot.R.numpy(),
        "t": shot.t.numpy(),
        "K": K.numpy(),
        "seed": np.int64(seed),
    }


@torch.no_grad()
def render_sample(
    seed: int, size: int = 176, fill: tuple[float, float] = (0.46, 0.60), *, relief: bool = False, pictures: int = 1
) -> Sample:
    """Render one person; the same arguments give the same bytes on any worker.

    Args:
        seed: any non-negative integer. Test sets use seeds that no training touches (``TEST_SEEDS``).
        size: side of the square picture in pixels.
        fill: range of the face's share of the picture.
        relief: give the skin its own geometry (:mod:`facezoo.synth.relief`), shade it, and return it.
        pictures: with relief, how many neighbouring seeds are pictures of one person; expression, pose, light, clothes and
            background change, face, skin, eyes, hair and beard stay.

    Raises:
        InputError: several pictures of a person asked for without relief.
    """
    if pictures < 1 or (pictures > 1 and not relief):
        raise InputError(f"pictures={pictures} needs relief=True and at least 1: without relief every seed is a person.")
    place = stage()
    n = round(size * SUPERSAMPLING)
    number = seed // pictures if relief else None
    shot = _shoot(seed, n, fill, number)
    rng = np.random.default_rng([seed, 2])
    if number is None:
        look, own = _look(rng, shot.traits, *_skin(seed // SHARED_SKIN)), rng
    else:
        look, own = relief_look(number, shot.person.expression)
    nod = _nod(rng, shot.pose)
    # The sampled rotation is the head's; the torso and the neck's foot turn back.
    camera = _bend_neck(place, shot.vertices, shot.joints, nod) @ shot.R.T + shot.t
    pieces = _dress(rng, place, shot.vertices, shot.traits, shot.sex, own)
    placed = [(p, p.vertices @ shot.R.T + shot.t) for p in pieces]
    skin = look.albedo[place.layout.mask].mean(0)
    chest = torso(rng, (float(skin[0]), float(skin[1]), float(skin[2])))
    pivot = shot.joints[1]
    placed.append((chest, ((chest.vertices - pivot) @ nod + pivot) @ shot.R.T + shot.t))
    rig = sample_lights(rng)
    background = torch.from_numpy(sample_background(rng, (n, n)))
    artist = Photographer(rng, place, rig, look, shot.K, n)
    linear, depth = artist.picture(background, camera, placed)
    image = to_srgb(linear * _exposure(rng, linear, depth)).permute(2, 0, 1)[None]
    image = functional.interpolate(image, size=(size, size), mode="bilinear", antialias=True)[0]
    labels = _labels(seed, shot, size / n)
    picture = image.permute(1, 2, 0).numpy()
    bare = artist.bare.reshape(1, 1, n, n)
    if rng.random() < 0.28:
        level = np.clip(frontal_light(rig), 0.05, 1.5) ** 0.45
        x0, y0, x1, y1 = (float(v) for v in labels["box"])
        light = (float(level[0]), float(level[1]), float(level[2]))
        thing = sample_occluder(rng, (size, size), (x0, y0, x1, y1), light=light)
        picture = composite(picture, thing)
        if relief:
            bare = functional.interpolate(bare, size=(size, size), mode="bilinear", antialias=True)
            bare = bare * (1 - torch.from_numpy(np.asarray(thing.alpha, np.float32)))
    picture = apply_sensor(rng, picture)
    if number is not None and look.relief is not None:
        blocks = functional.interpolate(bare, size=(size // 4, size // 4), mode="bilinear", antialias=True)[0, 0]
        labels |= {
            "displacement": stored(look.relief), "person": number,
            "skin": (blocks * 255 + 0.5).clamp(0, 255).numpy().astype(np.uint8),
        }  # fmt: skip
    return Sample(image=(picture * 255 + 0.5).astype(np.uint8), **labels)


def relief_traits(number: int) -> SkinTraits:
    """Return the skin traits of person ``number`` of the people with relief."""
    return _traits(number)


def relief_look(number: int, expression: NDArray) -> tuple[Look, np.random.Generator]:
    """Return the surface of a person with relief and the generator that goes on to decide beard and hair."""
    own = np.random.default_rng([number, 80])
    albedo, gloss, relief = _relief_skin(number)
    look = _look(own, _traits(number), albedo, gloss)
    names = stage().head.params["expression"].names
    look.relief, look.bare = relief.displacement(expression, names), relief.mask
    return look, own


def relief_identity(number: int) -> NDArray[np.float32]:
    """Return the head's identity coefficients of person ``number`` of the people with relief."""
    own = np.random.default_rng([number, 79])
    sex = "male" if _traits(number).masculine > 0.5 else "female"
    return sample_identity(own, stage().head, sex, spread=own.uniform(0.7, 1.12))


def _bend_neck(place: Stage, vertices: Tensor, joints: Tensor, nod: Tensor) -> Tensor:
    """Keep the head and turn everything that the root moves back by ``nod`` about the neck's joint."""
    root = place.head.weights[:, :1]
    turned = (vertices - joints[1]) @ nod + joints[1]
    return vertices * (1 - root) + turned * root


def _dress(
    rng: np.random.Generator, place: Stage, vertices: Tensor, traits: SkinTraits, sex: str,
    own: np.random.Generator | None = None,
) -> list[Piece]:  # fmt: skip
    """Hair, beard, glasses, hat and mask in the head's frame; ``own`` decides hair and beard when given."""
    own = rng if own is None else own
    pieces: list[Piece] = grow_beard(own, place, vertices, traits)
    limit = None
    if rng.random() < 0.14:
        worn, limit = hat(rng, place, vertices)
        pieces += worn
    if limit is None or limit > -0.5:
        for p in grow_hair(own, place, vertices, traits, sex == "female"):
            if limit is not None:
                p.edge = torch.minimum(p.edge, limit - p.vertices[:, 1])
            pieces.append(p)
    if rng.random() < 0.2:
        pieces += glasses(rng, place, vertices)
    if rng.random() < 0.03:
        pieces += mask(rng, place, vertices)
    return pieces


TEST_SEEDS = range(900_000_000, 900_002_000)
VALIDATION_SEEDS = range(910_000_000, 910_001_000)


def render_batch(
    seeds: Sequence[int], size: int = 176, *, relief: bool = False, pictures: int = 1
) -> dict[str, NDArray]:
    """Render several people and stack them as shard arrays (images as (N, 3, S, S))."""
    samples = [render_sample(int(s), size, relief=relief, pictures=pictures) for s in seeds]
    names = [name for name in Sample._fields if name != "image" and (relief or name not in Sample._field_defaults)]
    out = {name: np.stack([np.asarray(getattr(s, name)) for s in samples]) for name in names}
    out["images"] = np.stack([s.image for s in samples]).transpose(0, 3, 1, 2)
    return out


@torch.no_grad()
def label_batch(seeds: Sequence[int], size: int = 176, fill: tuple[float, float] = (0.46, 0.60)) -> dict[str, NDArray]:
    """Labels of :func:`render_batch` without the pictures, ten times faster."""
    n = round(size * SUPERSAMPLING)
    rows = [_labels(int(s), _shoot(int(s), n, fill), size / n) for s in seeds]
    return {name: np.stack([r[name] for r in rows]) for name in rows[0]}
