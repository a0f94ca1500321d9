"""Paint a face's albedo in texture space: skin tone, blood, freckles, wrinkles, brows, lashes, lips, beard, make-up.

Everything that depends on the head alone (distances in millimetres from every texel to brows, lids, lips, beard line…)
is measured once a layout and size. A texture is then a few matrix products, noise look-ups and small scattered
blends. Skin is modelled as light passing two dyes: albedo = tone · exp(-melanin·σm - blood·σh), so that a mark
darkens light and dark skin by the same factor and shifts its hue as it should.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from facezoo.errors import InputError, unknown_name
from facezoo.mesh.io.colour import srgb_to_linear
from facezoo.synth import noise

Array = NDArray[np.floating]
"""Computed in float32; the alias is loose because scalars of either width meet it."""
Indices = NDArray[np.int64]

BEARDS = ("none", "shadow", "stubble", "full", "goatee", "circle", "moustache", "pencil", "handlebar", "soul_patch",
          "curtain", "chops", "patchy", "neck")  # fmt: skip
BROWS = ("natural", "thin", "bushy", "drawn", "sparse", "none", "joined")

# Relative absorption of melanin and haemoglobin in red, green and blue.
_MELANIN = np.array([0.80, 1.15, 1.45], np.float32)
_BLOOD = np.array([0.10, 0.95, 0.80], np.float32)

# Linear RGB: black, dark brown, brown, light brown, blond, pale blond, auburn, red, grey, white.
_HAIR = np.array([
    [0.007, 0.006, 0.006], [0.026, 0.015, 0.010], [0.070, 0.038, 0.021], [0.150, 0.092, 0.052], [0.330, 0.225, 0.115],
    [0.480, 0.370, 0.220], [0.090, 0.030, 0.014], [0.210, 0.070, 0.022], [0.210, 0.205, 0.200], [0.560, 0.550, 0.530],
])  # fmt: skip


def _decode(srgb: NDArray) -> Array:
    return srgb_to_linear(np.asarray(srgb, np.float32))


@dataclass(frozen=True, eq=False)
class FaceLayout:
    """Where a head's features lie in its texture; u to the right = the subject's left, v up, both in [0, 1].

    Attributes:
        brow_left, brow_right: (N, 2) middle of the brow, inner to outer end.
        lip_upper, lip_lower: (N, 2) closed outlines of the red.
        eye_left, eye_right: (N, 2) closed outlines of the opening between the lids.
        nose_tip: (2,).
        nostrils, cheeks, ears: (2, 2) left, right.
        beard, moustache: (N, 2) closed outlines of where hair can grow.
        scalp: (N, 2) closed outline of the hair's region; its border on the brow is the hairline.
        neck_line: (N, 2) a line around the front of the neck.
        position: (S, S, 3) rest position of each texel in metres, y up, x to the subject's left; row 0 is v = 1.
        mask: (S, S) True where the texel belongs to the skin.
        brow_thickness: full height of an average brow, metres.
    """

    brow_left: NDArray
    brow_right: NDArray
    lip_upper: NDArray
    lip_lower: NDArray
    eye_left: NDArray
    eye_right: NDArray
    nose_tip: NDArray
    nostrils: NDArray
    cheeks: NDArray
    ears: NDArray
    beard: NDArray
    moustache: NDArray
    scalp: NDArray
    neck_line: NDArray
    position: NDArray
    mask: NDArray
    brow_thickness: float = 0.0085

    def __post_init__(self) -> None:
        s = self.mask.shape[0]
        if self.mask.shape != (s, s) or self.position.shape != (s, s, 3):
            raise InputError(
                f"position must be (S, S, 3) and mask (S, S), got {self.position.shape} and {self.mask.shape}."
            )
        for name in ("nostrils", "cheeks", "ears"):
            if np.shape(getattr(self, name)) != (2, 2):
                raise InputError(
                    f"FaceLayout.{name} must be (2, 2): left, right; got {np.shape(getattr(self, name))}."
                )
        if not self.mask.any():
            raise InputError("FaceLayout.mask has no skin texel.")


@dataclass(frozen=True)
class SkinTraits:
    """A person's skin as a few numbers; everything finer is drawn while painting.

    Attributes:
        melanin: 0 very light to 1 very dark.
        redness: 0 pale to 1 flushed.
        age: years.
        masculine: 0 to 1; thickens brows, allows beards, discourages make-up.
        hair: linear RGB of the scalp's hair.
        body_hair: linear RGB of brows, lashes and beard.
        brow: one of ``BROWS``.
        beard: one of ``BEARDS``.
        beard_density: 0 to 1.
        scalp: how much the scalp's own hair or stubble hides the skin, 0 bald to 1.
        receding: how far the hairline has moved up, metres.
        freckles, blemishes, makeup: 0 none to 1 strong.
        paint: carnival or war paint.
    """

    melanin: float
    redness: float
    age: float
    masculine: float
    hair: tuple[float, float, float]
    body_hair: tuple[float, float, float]
    brow: str = "natural"
    beard: str = "none"
    beard_density: float = 0.0
    scalp: float = 0.9
    receding: float = 0.0
    freckles: float = 0.0
    blemishes: float = 0.0
    makeup: float = 0.0
    paint: bool = False


class SkinTexture(NamedTuple):
    """What :func:`paint_albedo` returns.

    Attributes:
        albedo: (S, S, 3) linear RGB.
        specular: (S, S) in [0, 1], 0 matt (hair, powder), about 0.35 skin, 1 wet or glossy.
    """

    albedo: Array
    specular: Array


def sample_hair_colour(rng: np.random.Generator, melanin: float, age: float) -> tuple[float, float, float]:
    """Draw a natural hair colour that goes with skin and age.

    Args:
        rng: the only source of randomness.
        melanin: of the skin, 0–1.
        age: years.

    Returns:
        Linear RGB.
    """
    light = np.array([2, 3, 3, 2.5, 2, 1, 0.7, 0.8, 0, 0])
    dark = np.array([9, 3, 0.7, 0.15, 0.1, 0.05, 0.15, 0.02, 0, 0])
    share = np.clip(melanin * 2.2, 0, 1)
    chance = light * (1 - share) + dark * share
    pick = _HAIR[rng.choice(10, p=chance / chance.sum())] * np.exp(
        rng.normal(0, 0.3) + rng.normal(0, 0.06, 3)
    )
    grey = np.clip(rng.normal((age - 52) / 22, 0.3), 0, 1)
    rgb = pick * (1 - grey) + _HAIR[8 + int(rng.random() < grey * 0.7)] * rng.uniform(0.6, 1.1) * grey
    return float(rgb[0]), float(rgb[1]), float(rgb[2])


def _dyed(rng: np.random.Generator, natural: tuple[float, float, float]) -> tuple[float, float, float]:
    """Scalp hair: natural for nine in ten, else another natural or a vivid colour."""
    chance = rng.random()
    if chance > 0.1:
        return natural
    rgb = _HAIR[int(rng.integers(8))] if chance > 0.04 else _decode(rng.random(3) ** 1.5)
    return float(rgb[0]), float(rgb[1]), float(rgb[2])


def sample_traits(rng: np.random.Generator, **given: Any) -> SkinTraits:
    """Draw a person; what is given is kept and what depends on it follows.

    Args:
        rng: the only source of randomness.
        **given: any field of :class:`SkinTraits`, e.g. ``age=8`` or ``beard="full"``.

    Returns:
        Traits. Tones cover the whole human range, nearly evenly; ages 3–90; half the people are masculine.

    Raises:
        InputError: a given name is not a trait.
        UnknownNameError: a given beard or brow is unknown.
    """
    fields = set(SkinTraits.__dataclass_fields__)
    if not set(given) <= fields:
        raise unknown_name("skin trait", sorted(set(given) - fields)[0], fields)

    # Drawn even when given, so that one override does not reshuffle the rest.
    drawn = (
        rng.random() ** 1.25,
        np.clip(rng.gamma(4.5, 8.5), 3, 90),
        rng.integers(2) * 0.76 + rng.normal(0.12, 0.12),
    )
    melanin, age = float(given.get("melanin", drawn[0])), float(given.get("age", drawn[1]))
    masculine = float(given.get("masculine", np.clip(drawn[2], 0, 1)))
    man = masculine > 0.5 and age > 16
    natural = sample_hair_colour(rng, melanin, age)
    dyed = _dyed(rng, natural)
    styles = np.array([3.2, 1.5, 1.8, 2.4, 0.7, 0.8, 0.9, 0.3, 0.25, 0.25, 0.3, 0.2, 0.35, 0.2])
    beard = str(rng.choice(BEARDS, p=styles / styles.sum()))
    brow = str(rng.choice(BROWS, p=[0.66, 0.09, 0.08, 0.05, 0.07, 0.03, 0.02]))
    recede = max(0.0, rng.normal(-0.008 + 0.0003 * age, 0.009))
    values: dict[str, Any] = {
        "melanin": melanin, "age": age, "masculine": masculine,
        "redness": float(rng.beta(2, 3)), "hair": dyed,
        "body_hair": given.get("hair", natural),
        "brow": brow, "beard": beard if man else "none", "beard_density": float(rng.beta(3, 1.6)),
        "scalp": float(np.clip(rng.normal(0.85, 0.2), 0, 1)) if rng.random() < 0.85 else float(rng.random() * 0.4),
        "receding": float(recede if man else recede * 0.2),
        "freckles": float(rng.random() ** 4 * (1.3 - melanin)) if rng.random() < 0.5 else 0.0,
        "blemishes": float(rng.random() ** 3),
        "makeup": float(rng.random()) if rng.random() < (0.04 if masculine > 0.5 or age < 13 else 0.6) else 0.0,
        "paint": bool(rng.random() < 0.015),
    }  # fmt: skip
    values |= given
    if values["beard"] not in BEARDS:
        raise unknown_name("beard", str(values["beard"]), BEARDS)
    if values["brow"] not in BROWS:
        raise unknown_name("brow", str(values["brow"]), BROWS)
    return SkinTraits(**values)


def skin_tone(melanin: float, redness: float, yellowness: float = 0.0) -> Array:
    """Mean facial albedo on the human ramp.

    L* falls from 74 to 25 with melanin; a* is about the same in all groups and follows the blood; b* is largest in
    the middle of the ramp (open_head_facts §5: cluster centres and ranges, Xiao et al. 2017).

    Args:
        melanin: 0–1.
        redness: 0–1.
        yellowness: shift of b*, about -4 to 4.

    Returns:
        (3,) linear RGB, red > green > blue.
    """
    lightness = 74 - 49 * melanin
    a = 8.5 + 7 * redness * (1 - 0.4 * melanin) + 4 * np.sin(np.pi * min(melanin, 1))
    b = (
        13.5
        + 7 * np.sin(np.pi * np.clip(melanin * 0.85 + 0.1, 0, 1))
        - 2.5 * melanin
        + yellowness * (1 - 0.5 * melanin)
    )
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.95047, 1.0, 1.08883])
    matrix = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    r, g, b_ = matrix @ xyz
    b_ = max(b_, 0.008)
    g = max(g, b_ * 1.08)
    return np.array([max(r, g * 1.12), g, b_], np.float32)


# ---- what depends on the layout alone ------------------------------------------------------------------------------


class _Brow(NamedTuple):
    texels: Indices
    along: Array
    """0 at the inner, 1 at the outer end; beyond them outside."""
    across: Array
    """Metres above the polyline."""
    length: float


class _Eye(NamedTuple):
    texels: Indices
    inside: Array
    """Signed distance to the opening, metres, negative inside."""
    upper: Array
    lower: Array
    """Distances to the two lid edges, metres."""
    out: Array
    up: Array
    """Metres from the eye's centre, sideways away from the nose and upwards."""


class _Geometry(NamedTuple):
    size: int
    fields: Array
    """(K, S²) smooth weights; names in ``FIELDS`` first, then random smooth functions of the position."""
    noise_at: Indices
    """Index of each texel into a doubled atlas, about half a millimetre a step."""
    brows: tuple[_Brow, _Brow]
    eyes: tuple[_Eye, _Eye]
    lips: Indices
    lip_upper: Array
    lip_lower: Array
    lip_side: Array
    """Metres from the middle of the mouth to the side."""
    mouth: Indices
    """Texels between the lips: the inside of the mouth."""
    metric: Array
    """(2, S²) metres around the head and down it, for oriented hair."""
    hair: Indices
    """Texels where beard or moustache may grow."""
    beard: Array
    moustache: Array
    side: Array
    above: Array
    """Of ``hair``: signed distances to the two outlines; metres sideways from and above the mouth's centre."""
    scalp: Indices
    scalp_inside: Array
    front: Array
    """Of ``scalp``: signed distance to its outline and metres from the midline."""
    face: Indices
    """Texels where moles go."""


FIELDS = (
    "cheek",
    "nose",
    "forehead",
    "chin",
    "under_eye",
    "ear",
    "jaw",
    "neck",
    "muzzle",
    "nostril",
    "glabella",
)
_SMOOTH = 10
_TEXEL = 0.00052
"""Metres a texel of the skin's noise; two atlas periods go around the head."""


class _Survey:
    """A layout's texels as points in space, and the ways to measure from them."""

    def __init__(self, layout: FaceLayout, size: int) -> None:
        step = layout.mask.shape[0] / size
        pick = np.minimum((np.arange(size) + 0.5) * step, layout.mask.shape[0] - 1).astype(int)
        self.size = size
        self.mask = np.asarray(layout.mask, bool)[np.ix_(pick, pick)]
        nearest = distance_transform_edt(~self.mask, return_distances=False, return_indices=True)
        self.position = np.asarray(layout.position, float)[np.ix_(pick, pick)][nearest[0], nearest[1]]
        self.flat = self.position.reshape(-1, 3)

    def read(self, uv: NDArray) -> NDArray:
        """Positions (N, 3) at texture points (N, 2)."""
        points = np.atleast_2d(np.asarray(uv, float))
        columns = np.clip((points[:, 0] * self.size).astype(int), 0, self.size - 1)
        rows = np.clip(((1 - points[:, 1]) * self.size).astype(int), 0, self.size - 1)
        return self.position[rows, columns]

    def line(self, uv: NDArray, closed: bool = False) -> NDArray:
        """Positions (N, 3) along a polyline, every half texel."""
        points = np.asarray(uv, float)
        if closed:
            points = np.concatenate([points, points[:1]])
        at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        grid = np.linspace(0, at[-1], max(8, int(at[-1] * self.size * 2)))
        return self.read(np.stack([np.interp(grid, at, points[:, i]) for i in (0, 1)], -1))

    def distance(self, points: NDArray) -> NDArray:
        """Metres (S²,) from every texel to the nearest of some positions."""
        return cKDTree(points).query(self.flat)[0]

    def covered(self, outline: NDArray) -> NDArray[np.bool_]:
        """Texels (S, S) whose centre lies inside a closed outline."""
        image = Image.new("L", (4 * self.size, 4 * self.size))
        points = (np.asarray(outline, float) * [1, -1] + [0, 1]) * 4 * self.size
        ImageDraw.Draw(image).polygon([tuple(p) for p in points.tolist()], fill=255)
        return np.asarray(image.reduce(4)) > 127

    def signed(self, outline: NDArray) -> NDArray:
        """Metres (S²,) to a closed outline, negative inside, at most 0.05."""
        d = np.minimum(self.distance(self.line(outline, closed=True)), 0.05)
        return np.where(self.covered(outline).ravel(), -d, d)

    def bump(self, uv: NDArray, radius: float) -> NDArray:
        """1 at any of some texture points, falling as a Gaussian of the distance in space."""
        return np.exp(-0.5 * (self.distance(self.read(uv)) / radius) ** 2)

    def blob(self, centre: NDArray, radii: tuple[float, float, float]) -> NDArray:
        """An axis-aligned Gaussian blob around a position."""
        return np.exp(-0.5 * (((self.flat - centre) / radii) ** 2).sum(1))


def _f32(value: NDArray) -> Array:
    return np.asarray(value, np.float32)


def _lids(outline: NDArray) -> tuple[NDArray, NDArray]:
    """Split an eye's outline at its corners into the upper and the lower lid."""
    points = np.asarray(outline, float)
    first, last = int(points[:, 0].argmin()), int(points[:, 0].argmax())
    points, turn = np.roll(points, -first, 0), (last - first) % len(points)
    one, two = points[: turn + 1], np.concatenate([points[turn:], points[:1]])
    return (one, two) if one[:, 1].mean() >= two[:, 1].mean() else (two, one)


def _measure_eye(survey: _Survey, outline: NDArray, side: int) -> _Eye:
    inside = survey.signed(outline)
    texels = np.flatnonzero(inside < 0.022)
    upper, lower = (_f32(survey.distance(survey.line(lid))[texels]) for lid in _lids(outline))
    offset = survey.flat[texels] - survey.line(outline, closed=True).mean(0)
    return _Eye(texels, _f32(inside[texels]), upper, lower, _f32(side * offset[:, 0]), _f32(offset[:, 1]))


def _measure_brow(survey: _Survey, polyline: NDArray) -> _Brow:
    line = np.asarray(polyline, float)
    # Continued at both ends, so that texels beyond them measure along it too.
    before, after = line[:1] * 1.25 - line[1:2] * 0.25, line[-1:] * 1.25 - line[-2:-1] * 0.25
    dense = survey.line(np.concatenate([before, line, after]))
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    ends = [int(np.linalg.norm(dense - survey.read(tip), axis=1).argmin()) for tip in (line[0], line[-1])]
    d, index = cKDTree(dense).query(survey.flat)
    texels = np.flatnonzero(d < 0.014)
    length = max(float(arc[ends[1]] - arc[ends[0]]), 1e-4)
    along = (arc[index[texels]] - arc[ends[0]]) / length
    above = survey.flat[texels, 1] >= dense[index[texels], 1]
    return _Brow(texels, _f32(along), _f32(d[texels] * np.where(above, 1, -1)), length)


def _measure_metric(survey: _Survey) -> NDArray:
    """Metres (2, S²) around the head by azimuth and down it: isotropic, and seamless when read periodically."""
    flat, skin = survey.flat, survey.flat[survey.mask.ravel()]
    spine = (skin.min(0) + skin.max(0)) / 2
    radius = noise.ATLAS * _TEXEL / np.pi
    across, deep = flat[:, 0] - spine[0], flat[:, 2] - spine[2]
    # Height on the flanks, arc length on the dome, where height alone would stretch the noise.
    rise = flat[:, 1] - (skin[:, 1].max() - radius)
    down = np.where(rise > 0, -np.arctan2(rise, np.hypot(across, deep)) * radius, -rise)
    return np.stack([np.arctan2(across, deep) * radius, down])


def _measure_fields(
    survey: _Survey, layout: FaceLayout, mouth: NDArray, lips: NDArray, beard: NDArray
) -> Array:
    """Regional weights (K, S²): ``FIELDS``, then random smooth functions of the position."""
    flat = survey.flat
    brows = survey.read(np.stack([layout.brow_left[0], layout.brow_right[0]])).mean(0)
    eyes = [survey.line(e, closed=True).mean(0) for e in (layout.eye_left, layout.eye_right)]
    facing = flat[:, 2] > mouth[2] - 0.07
    throat = survey.read(layout.neck_line)[:, 1].mean()
    named = {
        "cheek": survey.bump(layout.cheeks, 0.017),
        "nose": survey.bump(layout.nose_tip, 0.012),
        "forehead": survey.blob(brows + [0, 0.03, 0], (0.05, 0.02, 9)) * facing,
        "chin": survey.blob(mouth + [0, -0.03, -0.004], (0.016, 0.016, 0.024)),
        "under_eye": sum(survey.blob(e - [0, 0.0145, 0], (0.014, 0.006, 0.02)) for e in eyes),
        "ear": survey.bump(layout.ears, 0.022),
        "jaw": np.clip(-beard / 0.008, 0, 1),
        "neck": 1 / (1 + np.exp((flat[:, 1] - throat) / 0.006)),
        "muzzle": np.exp(-0.5 * (np.maximum(lips, 0) / 0.012) ** 2),
        "nostril": survey.bump(layout.nostrils, 0.0032),
        "glabella": survey.blob(brows, (0.006, 0.009, 0.03)),
    }
    waves = np.random.default_rng(3)  # fixed: part of the layout, not of a person
    smooth = np.ones((_SMOOTH, len(flat)))
    for _ in range(2):  # products of two waves are blobs, single waves are stripes
        directions = waves.normal(0, 1, (_SMOOTH, 3))
        length = np.exp(waves.uniform(np.log(15), np.log(50), _SMOOTH)) / np.linalg.norm(directions, axis=1)
        phase = waves.uniform(0, 2 * np.pi, _SMOOTH)
        smooth *= np.sin((directions * length[:, None]) @ flat.T + phase[:, None])
    return _f32(np.concatenate([np.stack([named[name] for name in FIELDS]), smooth]))


@lru_cache(maxsize=8)
def _geometry(layout: FaceLayout, size: int) -> _Geometry:
    """Measure a layout at a texture size; about half a second, once."""
    survey = _Survey(layout, size)
    flat = survey.flat
    upper, lower = survey.signed(layout.lip_upper), survey.signed(layout.lip_lower)
    either = np.minimum(upper, lower)
    beard, moustache = survey.signed(layout.beard), survey.signed(layout.moustache)
    roots = survey.signed(layout.scalp)
    mouth = np.concatenate([survey.line(p, closed=True) for p in (layout.lip_upper, layout.lip_lower)]).mean(
        0
    )
    # Between the lips: an upper-lip texel somewhere above, a lower-lip texel somewhere below.
    under = np.maximum.accumulate(survey.covered(layout.lip_upper), axis=0)
    over = np.maximum.accumulate(survey.covered(layout.lip_lower)[::-1], axis=0)[::-1]
    lips = np.flatnonzero(either < 0.008)
    hair = np.flatnonzero((np.minimum(beard, moustache) < 0.006) & (either > -0.001))
    scalp = np.flatnonzero(roots < 0.008)
    front = (flat[:, 1] > mouth[1] - 0.05) & (flat[:, 2] > mouth[2] - 0.09) & (roots > 0)
    metric = _measure_metric(survey)
    columns, rows = np.floor(metric / _TEXEL).astype(np.int64) % noise.ATLAS
    return _Geometry(
        size=size,
        fields=_measure_fields(survey, layout, mouth, either, beard),
        metric=_f32(metric),
        noise_at=rows * 2 * noise.ATLAS + columns,
        brows=(_measure_brow(survey, layout.brow_left), _measure_brow(survey, layout.brow_right)),
        eyes=(_measure_eye(survey, layout.eye_left, 1), _measure_eye(survey, layout.eye_right, -1)),
        lips=lips,
        lip_upper=_f32(upper[lips]),
        lip_lower=_f32(lower[lips]),
        lip_side=_f32(flat[lips, 0] - mouth[0]),
        mouth=np.flatnonzero(under.ravel() & over.ravel() & (either > 0)),
        hair=hair,
        beard=_f32(beard[hair]),
        moustache=_f32(moustache[hair]),
        side=_f32(np.abs(flat[hair, 0] - mouth[0])),
        above=_f32(flat[hair, 1] - mouth[1]),
        scalp=scalp,
        scalp_inside=_f32(roots[scalp]),
        front=_f32(np.abs(flat[scalp, 0] - mouth[0])),
        face=np.flatnonzero(survey.mask.ravel() & front),
    )


# ---- painting -------------------------------------------------------------------------------------------------------


@cache
def _doubled(kind: str) -> Array:
    """An atlas twice along each axis, flat: an offset look-up needs no modulo."""
    return np.tile(noise.atlas(kind), (2, 2)).ravel()


def _step(value: Array, low: float, high: float) -> Array:
    """Smooth ramp from 0 at ``low`` to 1 at ``high`` (or down, when ``high`` is smaller)."""
    t = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


class _Face:
    """One texture in the making: ``rgb`` (3, S²) and ``gloss`` (S²), flat and planar for speed."""

    def __init__(
        self, rng: np.random.Generator, layout: FaceLayout, geometry: _Geometry, traits: SkinTraits
    ) -> None:
        self.rng, self.layout, self.g, self.t = rng, layout, geometry, traits
        self.rgb = np.empty((3, geometry.size**2), np.float32)
        self.gloss = np.empty(geometry.size**2, np.float32)

    def noise(self, kind: str, texels: Indices | None = None) -> Array:
        """Noise by the head's own millimetres, at all or some texels."""
        at = self.g.noise_at if texels is None else self.g.noise_at[texels]
        row, column = self.rng.integers(0, noise.ATLAS, 2)
        return _doubled(kind).take(at + (int(row) * 2 * noise.ATLAS + int(column)))

    def strands(self, x: Array, y: Array) -> Array:
        """Hair-like noise at atlas coordinates: x across the hairs (about eight to a hair), y along them."""
        row, column = self.rng.integers(0, noise.ATLAS, 2)
        rows = (y + np.float32(row)).astype(np.int64) % noise.ATLAS
        columns = (x + np.float32(column)).astype(np.int64) % noise.ATLAS
        return noise.atlas("strands").ravel().take(rows * noise.ATLAS + columns)

    def hairs(self, texels: Indices) -> Array:
        """Hair that hangs or curls, at texels of beard or scalp: strands of random width and slant, or curls."""
        if self.rng.random() < 0.3:
            return self.noise("rough", texels)
        around, down = self.g.metric[0][texels], self.g.metric[1][texels]
        fine = np.float32(np.exp(self.rng.uniform(np.log(2500), np.log(9000))))
        long, slant = self.rng.uniform(0.12, 0.5), self.rng.normal(0, 0.25)
        return self.strands((around + slant * down) * fine, down * fine * long)

    def blend(self, texels: Indices, alpha: Array, colour: NDArray, gloss: float | None = None) -> None:
        """Cover texels by a colour: (3,) or (3, N)."""
        tone = np.asarray(colour, np.float32).reshape(3, -1)
        for plane, c in zip(self.rgb, tone, strict=True):
            old = plane[texels]
            plane[texels] = old + (c - old) * alpha
        if gloss is not None:
            old = self.gloss[texels]
            self.gloss[texels] = old + (np.float32(gloss) - old) * alpha

    def stain(self, texels: Indices, melanin: Array | float, blood: Array | float) -> None:
        """Add dye at some texels."""
        for c in range(3):
            self.rgb[c][texels] *= np.exp(-(melanin * _MELANIN[c] + blood * _BLOOD[c]))


def _skin(face: _Face) -> None:
    """Tone, regional colour, mottling, freckles and blemishes of the whole surface."""
    rng, t, g = face.rng, face.t, face.g
    old, man = np.clip((t.age - 30) / 50, 0, 1), t.masculine * (t.age > 14)
    calm = 1 - 0.7 * t.makeup  # foundation evens out
    weights = np.zeros((2, len(FIELDS) + _SMOOTH))
    at = {name: i for i, name in enumerate(FIELDS)}

    def put(name: str, melanin: float, blood: float, spread: float = 0.5) -> None:
        weights[:, at[name]] = np.array([melanin, blood]) * np.exp(rng.normal(0, spread, 2))

    flush = calm * (0.3 + t.redness)
    put("cheek", 0.02, 0.22 * flush)
    put("nose", 0.06, 0.26 * flush)
    put("forehead", 0.08 * calm, 0.05)
    put("chin", 0.02, 0.14 * flush)
    put("under_eye", calm * (0.14 + 0.14 * old), calm * 0.12)
    put("ear", 0.0, 0.3 * (0.3 + t.redness))
    put("jaw", 0.05 * man, -0.02)
    put("neck", 0.05, -0.06)
    put("muzzle", 0.06 * calm, 0.04)
    put("nostril", 1.5, 0.6, 0.3)
    put("glabella", 0.05, 0.05)
    weights[:, len(FIELDS) :] = rng.normal(0, [[0.05], [0.06]], (2, _SMOOTH)) * (0.6 + 0.8 * old)
    melanin, blood = weights.astype(np.float32) @ g.fields
    rough = np.float32(calm * np.exp(rng.normal(0, 0.35)) * (1 + 0.5 * old))
    grain = face.noise("rough") - 0.5
    patches = face.noise("fbm") - 0.5
    melanin += rough * (0.16 * grain + 0.10 * patches)
    blood += rough * (0.15 * (face.noise("fbm") - 0.5) - 0.08 * grain)
    sun = g.fields[at["cheek"]] + g.fields[at["nose"]] + g.fields[at["forehead"]]
    if t.freckles > 0.02:
        amount = t.freckles * calm
        dots = np.clip((face.noise("spots") - np.float32(1 - 0.95 * min(1, amount * 1.3))) * 4, 0, 1)
        melanin += dots * np.minimum(sun + np.float32(0.25 * amount), 1) * rng.uniform(0.2, 0.65)
    if old > 0.3:  # age spots
        spots = np.clip((face.noise("cells") - 0.97) * 30, 0, 1) * (patches > 0)
        melanin += spots * np.float32(rng.uniform(0, 0.5) * old)
    if t.blemishes > 0.1:
        where = face.noise("spots") > np.float32(1 - 0.12 * t.blemishes * calm)
        blood += where * rng.uniform(0.2, 0.7)
    if rng.random() < 0.008:  # vitiligo
        melanin -= _step(face.noise("fbm"), 0.72, 0.76) * np.float32(0.2 + 1.6 * t.melanin)
    if rng.random() < 0.008:  # port-wine stain
        blood += _step(face.noise("fbm"), 0.8, 0.85) * rng.uniform(0.4, 1.0)
    if rng.random() < 0.05:  # sunburn or cold
        blood += np.minimum(sun, 1) * rng.uniform(0.2, 0.5)
    # Dark skin hides blood.
    blood *= np.float32(1 - 0.45 * t.melanin)
    tone = skin_tone(t.melanin, t.redness, float(rng.normal(0, 1.8)))
    for c in range(3):
        face.rgb[c] = np.exp(melanin * -_MELANIN[c] + blood * -_BLOOD[c]) * tone[c]
    shine = g.fields[at["nose"]] * 0.2 + g.fields[at["forehead"]] * 0.12 + g.fields[at["cheek"]] * 0.06
    oil = float(np.clip(rng.normal(0.35, 0.1) * (1 - 0.3 * t.makeup), 0.1, 0.7))
    face.gloss = np.float32(oil) * (1 + shine * 2 + grain * 0.5)


def _wrinkles(face: _Face) -> None:
    """Creases by age, drawn as lines: brow, glabella, crow's feet, nasolabial and marionette folds, eye bags, neck."""
    rng, t, lay, size = face.rng, face.t, face.layout, face.g.size
    old = float(np.clip((t.age - 18) / 55, 0.03, 1.15) * np.exp(rng.normal(0, 0.3)))
    big = 2 * size
    image = Image.new("L", (big, big))
    draw = ImageDraw.Draw(image)
    left, right = np.mean(lay.eye_left, 0), np.mean(lay.eye_right, 0)
    unit = float(np.linalg.norm(left - right))  # the distance of the eyes, about 63 mm

    def line(points: NDArray, strength: float, width: float = 1.0) -> None:
        pixels = (np.asarray(points) + rng.normal(0, 0.006 * unit, np.shape(points))) * [big, -big] + [0, big]
        value = int(np.clip(255 * strength * np.exp(rng.normal(0, 0.4)), 0, 255))
        if value > 8:
            draw.line(
                [(float(x), float(y)) for x, y in pixels],
                fill=value,
                width=max(1, round(width * size / 256)),
                joint="curve",
            )

    brow = (np.asarray(lay.brow_left)[0] + np.asarray(lay.brow_right)[0]) / 2
    wave = np.linspace(-1, 1, 11)
    for i in range(int(rng.integers(0, 2 + int(4 * old)))):
        bow = rng.normal(0.03, 0.03) * (1 - wave**2) + 0.012 * np.sin(
            wave * rng.uniform(3, 9) + rng.uniform(0, 6)
        )
        line(
            brow + np.stack([wave * unit * rng.uniform(0.45, 0.75), unit * (0.22 + 0.14 * i + bow)], -1),
            0.55 * old,
            2,
        )
    for side, eye in ((1, np.asarray(lay.eye_left)), (-1, np.asarray(lay.eye_right))):
        outer = eye[(eye[:, 0] * side).argmax()]
        centre = eye.mean(0)
        if rng.random() < 0.6:
            x = side * unit * rng.uniform(0.04, 0.12)
            line(brow + np.array([[x, -0.05 * unit], [x * 0.9, 0.12 * unit]]), 0.4 * old, 2)
        for _ in range(int(rng.integers(0, 2 + int(4 * old)))):
            angle, start = rng.normal(0, 0.45), 0.1 * unit
            ray = np.array([side * np.cos(angle), np.sin(angle)])
            line(
                outer + np.outer(start + np.linspace(0, unit * rng.uniform(0.12, 0.33), 4), ray), 0.5 * old, 1
            )
        for depth in (0.17, 0.27):
            sag = depth * unit * (1 - 0.5 * wave**2)
            line(
                centre + np.stack([side * wave * 0.24 * unit, -sag], -1),
                (0.08 + 0.4 * old) * (rng.random() < 0.6),
                2,
            )
        nostril = np.asarray(lay.nostrils)[0 if side > 0 else 1]
        lip = np.asarray(lay.lip_upper)
        corner = lip[(lip[:, 0] * side).argmax()]
        s = np.linspace(0, 1, 8)[:, None]
        start, end = (
            nostril + [side * 0.13 * unit, 0.06 * unit],
            corner + [side * rng.uniform(0.07, 0.16) * unit, -0.05 * unit],
        )
        fold = start + (end - start) * s + np.array([side * 0.05 * unit, 0.03 * unit]) * np.sin(np.pi * s)
        line(fold, 0.18 + 0.55 * old, 3)
        if rng.random() < 0.3 + old:
            foot = corner + [side * 0.06 * unit, -0.04 * unit]
            line(
                foot + np.outer(np.linspace(0, 1, 4), [side * 0.04 * unit, -unit * rng.uniform(0.15, 0.4)]),
                0.45 * old,
                2,
            )
    for _ in range(int(rng.integers(0, 4))):
        line(np.asarray(lay.neck_line) + [0, rng.normal(0, 0.12) * unit], 0.2 + 0.3 * old, 2)
    if rng.random() < 0.5:  # philtrum's shade
        top = np.asarray(lay.lip_upper)[np.asarray(lay.lip_upper)[:, 1].argmax()]
        line(np.stack([[brow[0], top[1] + 0.03 * unit], [brow[0], top[1] + 0.15 * unit]]), 0.15, 3)
    image = image.reduce(2).filter(ImageFilter.BoxBlur(size / 256 * rng.uniform(0.5, 1.1)))
    crease = np.asarray(image).ravel().astype(np.float32) * np.float32(rng.uniform(0.45, 0.95) / 255)
    crease = crease * (0.6 + 0.8 * face.noise("rough"))
    texels = np.flatnonzero(crease > 0.004)
    face.stain(texels, crease[texels] * 0.7, crease[texels] * 0.6)


def _marks(face: _Face) -> None:
    """Moles, a scar, a forehead dot."""
    rng, g, size = face.rng, face.g, face.g.size
    scale = size / 256

    def disc(texel: int, radius: float, squash: float = 1.0) -> tuple[Indices, Array]:
        reach = int(np.ceil(radius * 1.6)) + 1
        row, column = divmod(int(texel), size)
        rows = np.clip(row + np.arange(-reach, reach + 1), 0, size - 1)
        columns = np.clip(column + np.arange(-reach, reach + 1), 0, size - 1)
        d = np.hypot((rows - row)[:, None] * squash, (columns - column)[None] / squash) + rng.uniform(
            -0.3, 0.3
        )
        return (rows[:, None] * size + columns[None]).ravel(), np.clip(
            (radius - d) / scale + 0.5, 0, 1
        ).ravel().astype(np.float32)

    for _ in range(rng.poisson(1.6)):
        texels, shape = disc(
            g.face[rng.integers(len(g.face))], scale * rng.uniform(0.5, 1.6), rng.uniform(0.8, 1.25)
        )
        texels, first = np.unique(texels, return_index=True)
        face.stain(texels, shape[first] * rng.uniform(0.3, 1.4), 0)
    if rng.random() < 0.05:
        image = Image.new("L", (size, size))
        row, column = divmod(int(g.face[rng.integers(len(g.face))]), size)
        walk = (
            np.array([column, row])
            + np.outer(np.linspace(0, rng.uniform(6, 26) * scale, 4), rng.normal(0, 1, 2))
            + rng.normal(0, 1, (4, 2))
        )
        ImageDraw.Draw(image).line(
            [(float(x), float(y)) for x, y in walk], fill=255, width=int(rng.integers(1, 4))
        )
        texels = np.flatnonzero(np.asarray(image))
        if len(texels):
            face.stain(texels, rng.uniform(-0.35, 0.2), rng.uniform(-0.2, 0.35))
    if rng.random() < 0.012:
        lay = face.layout
        spot = (np.asarray(lay.brow_left)[0] + np.asarray(lay.brow_right)[0]) / 2 + [0, 0.01]
        texel = int((1 - spot[1]) * size) * size + int(spot[0] * size)
        texels, shape = disc(texel, scale * rng.uniform(1.5, 3.5))
        texels, first = np.unique(texels, return_index=True)
        face.blend(texels, shape[first], _decode(np.array([rng.uniform(0.4, 0.9), 0.03, 0.08])))


def _eyes(face: _Face) -> None:
    """Lid crease, lid tone, lashes, and make-up: shadow and liner."""
    rng, t = face.rng, face.t
    shadow = liner = 0.0
    shade_tone: NDArray = _decode(rng.random(3) * rng.uniform(0.15, 0.9))
    if rng.random() < 0.5:  # the discreet half: browns
        shade_tone = np.asarray(face.rgb[:, face.g.eyes[0].texels].mean(1)) * rng.uniform(0.25, 0.8)
    liner_tone = np.array([0.01, 0.009, 0.009]) if rng.random() < 0.85 else _decode(rng.random(3) * 0.6)
    if t.makeup > 0.15:
        shadow = float(rng.random() * t.makeup * (rng.random() < 0.7))
        liner = float(rng.random() * t.makeup * (rng.random() < 0.8))
    reach = rng.uniform(0.004, 0.014)
    lash = float(np.clip(rng.normal(0.7 + 0.3 * t.makeup, 0.18) * (1 - 0.2 * t.masculine), 0.25, 1))
    lash_tone = np.array([0.012, 0.010, 0.009]) if t.makeup > 0.2 else np.array(t.body_hair) * 0.35 + 0.004
    crease_at = float(np.clip(rng.normal(0.0062, 0.0018), 0.0028, 0.011))
    crease = rng.uniform(0, 0.45) * (rng.random() < 0.85)
    thick = rng.uniform(0.0007, 0.0014)
    wing = rng.random() < 0.35
    for eye in face.g.eyes:
        texels, out, up = eye.texels, eye.out, eye.up
        is_upper = _step(eye.lower - eye.upper, -0.0015, 0.0015)
        outside = eye.inside > 0
        above = is_upper * outside
        ramp = np.clip(1 - (np.abs(out) / 0.020) ** 4, 0, 1)
        fold = np.exp(-(((eye.upper - np.float32(crease_at)) / 0.0009) ** 2)) * above * ramp
        lid = above * _step(eye.upper, crease_at, 0)
        corner = np.exp(-(((out + 0.0155) / 0.004) ** 2) - (up / 0.004) ** 2)
        rim = _step(eye.inside, 0.0016, 0)
        face.stain(texels, fold * np.float32(crease) + corner * 0.15 + lid * 0.06,
                   fold * np.float32(crease) + rim * 0.35 + corner * 0.3 + lid * 0.06)  # fmt: skip
        if shadow:
            sheen = (
                above * _step(eye.upper, reach, reach * 0.3) * np.clip(1 - (np.abs(out) / 0.024) ** 4, 0, 1)
            )
            face.blend(texels, sheen * np.float32(shadow), shade_tone, 0.25 + 0.5 * float(rng.random() < 0.3))
        hairs = 0.65 + 0.35 * face.noise("rough", texels)
        line = np.exp(-((eye.upper / np.float32(thick * 1.4)) ** 2)) * is_upper + 0.4 * np.exp(
            -((eye.lower / np.float32(thick)) ** 2)
        ) * (1 - is_upper)
        face.blend(texels, np.clip(line * hairs * np.float32(lash), 0, 1), lash_tone, 0.2)
        if liner:
            wide = 0.0008 + 0.0028 * liner * rng.random()
            stroke = _step(eye.upper, wide * 1.5, wide * 0.5) * is_upper
            if wing:
                slope = np.abs(up - 0.45 * (out - 0.013) - 0.0005)
                stroke = np.maximum(
                    stroke, _step(slope, 0.0016, 0.0006) * _step(out, 0.012, 0.014) * _step(out, 0.024, 0.020)
                )
            if liner > 0.5:
                stroke = np.maximum(stroke, 0.7 * _step(eye.lower, 0.0018, 0.0005) * (1 - is_upper))
            face.blend(texels, stroke * np.float32(min(1, 0.5 + liner)), liner_tone, 0.2)
        inner = np.flatnonzero(eye.inside < -0.0012)
        wet = np.array([0.42, 0.16, 0.13]) * (0.45 + 0.55 * (1 - t.melanin))
        face.blend(texels[inner], np.full(len(inner), 0.85, np.float32), wet, 0.9)


def _lips(face: _Face) -> None:
    """The red of the lips, natural or painted, with its vertical furrows; the inside of the mouth."""
    rng, t, g = face.rng, face.t, face.g
    texels = g.lips
    inside = np.minimum(g.lip_upper, g.lip_lower)
    soft = rng.uniform(0.0005, 0.0016)
    red = _step(inside, soft, -soft)
    is_upper = _step(g.lip_lower - g.lip_upper, -0.001, 0.001)
    tone = skin_tone(t.melanin, t.redness)
    # Lips lack the pale outer layer: more blood, some melanin, darker above; dark skin has rosy lower lips.
    rosy = (
        np.exp(-(rng.uniform(0.3, 0.85) * _BLOOD * (1 - 0.3 * t.melanin) + rng.uniform(0.0, 0.28) * _MELANIN))
        * tone
    )
    pink = np.array([0.32, 0.12, 0.105]) * rng.uniform(0.6, 1.1)
    lower = rosy + (pink - rosy) * (t.melanin * rng.uniform(0, 0.6))
    colour = lower[:, None] * (1 - is_upper) + (rosy * rng.uniform(0.72, 1.0))[:, None] * is_upper
    coverage = red * rng.uniform(0.6, 1.0)
    gloss = float(rng.uniform(0.35, 0.65))
    if t.makeup > 0.1 and rng.random() < 0.8:
        hue = np.array([rng.uniform(0.35, 0.95), rng.uniform(0.02, 0.5), rng.uniform(0.05, 0.55)])
        if rng.random() < 0.12:
            hue = rng.random(3) * 0.8
        strong = float(np.clip(0.25 + t.makeup * rng.random() * 1.1, 0, 1))
        colour = colour + (_decode(hue)[:, None] - colour) * strong
        coverage, gloss = red * np.float32(max(0.6, strong)), float(rng.uniform(0.25, 1.0))
    furrow = face.strands(g.lip_side * 5500, inside * 1500) - 0.5
    colour = colour * (1 - rng.uniform(0.05, 0.3) * furrow)
    face.blend(texels, coverage, colour, gloss)
    rim = np.exp(-((inside / 0.0011) ** 2))
    face.stain(texels, rim * rng.normal(0.06, 0.08), rim * 0.06)
    seam = np.exp(-(((np.abs(g.lip_upper) + np.abs(g.lip_lower)) / 0.0022) ** 2))
    face.stain(texels, seam * 0.5, seam * 0.6)
    if len(g.mouth):
        face.blend(
            g.mouth,
            np.ones(len(g.mouth), np.float32),
            np.array([0.16, 0.035, 0.032]) * rng.uniform(0.6, 1.3),
            0.8,
        )


def _brows(face: _Face) -> None:
    """Brows as oriented hair with a shape, a density and a colour."""
    rng, t, g = face.rng, face.t, face.g
    if t.brow == "none":
        return
    half = face.layout.brow_thickness / 2 * np.exp(rng.normal(0.05, 0.2)) * (0.8 + 0.4 * t.masculine)
    density = float(np.clip(rng.normal(0.92, 0.12), 0.4, 1))
    half, density = {
        "thin": (half * 0.5, density), "bushy": (half * 1.35, 1.0), "sparse": (half, density * 0.5),
        "drawn": (half * 0.7, 1.0),
    }.get(t.brow, (half, density))  # fmt: skip
    knots = np.array([-0.12, 0.0, 0.15, 0.4, 0.7, 1.0, 1.12])
    profile = np.array([0, 0.6, 0.95, 1, 0.8, 0.35, 0]) * np.exp(rng.normal(0, 0.12, 7))
    lift = np.cumsum(rng.normal(0, 0.0005, 7)) + rng.normal(0, 0.0006)
    hair = np.array(t.body_hair) * np.exp(rng.normal(-0.35, 0.3))
    if rng.random() < 0.12:  # dyed or bleached above, natural below
        hair = _HAIR[int(rng.integers(0, 4))]
    # The pale brows of the blond are still darker than their skin.
    hair = np.minimum(hair, skin_tone(t.melanin, t.redness) * rng.uniform(0.3, 0.75))
    upright, flat = rng.uniform(0.9, 1.5), rng.uniform(0.1, 0.5)
    fine, contrast = rng.uniform(2600, 6500), 0.15 if t.brow == "drawn" else rng.uniform(0.25, 0.9)
    for brow in g.brows:
        shift = lift + rng.normal(0, 0.0003)
        width = np.interp(brow.along, knots, profile * half).astype(np.float32) + np.float32(1e-5)
        across = brow.across - np.interp(brow.along, knots, shift).astype(np.float32)
        body = _step(np.abs(across) / width, 1.25, 0.55) * (width > 0.0004)
        angle = np.float32(upright) + np.float32(flat - upright) * _step(brow.along, -0.1, 0.6)
        s = brow.along * np.float32(brow.length)
        sine, cosine = np.sin(angle), np.cos(angle)
        strand = face.strands(
            (s * sine - across * cosine) * np.float32(fine),
            (s * cosine + across * sine) * np.float32(fine * 0.35),
        )
        alpha = (
            body
            * np.float32(density)
            * (1 - np.float32(contrast) * (1 - strand))
            * (0.75 + 0.25 * _step(brow.along, 0, 0.3))
        )
        colour = hair[:, None] * (0.7 + 0.6 * strand[None])
        face.blend(brow.texels, np.clip(alpha * 1.15, 0, 1), colour, 0.15)
    if t.brow == "joined":
        bridge = g.fields[FIELDS.index("glabella")]
        texels = np.flatnonzero(bridge > 0.2)
        hairs = bridge[texels] * face.noise("strands", texels)
        face.blend(texels, np.clip(hairs * rng.uniform(0.5, 1.1), 0, 1), hair, 0.15)


def _beard_shape(face: _Face) -> Array:
    """Share of hair (N,) over the beard texels for a style, before density."""
    rng, g, style = face.rng, face.g, face.t.beard
    wobble = (face.noise("fbm", g.hair) - 0.5) * 0.012
    soft = rng.uniform(0.001, 0.006)
    side, above = g.side, g.above
    beard = _step(g.beard + wobble + rng.uniform(-0.002, 0.008), soft, -soft)
    lip_hair = _step(g.moustache + wobble * 0.3, soft * 0.5, -soft * 0.5)
    if style in ("none",):
        return np.zeros_like(side)
    if style in ("shadow", "stubble", "full"):
        return np.maximum(beard, lip_hair * np.float32(rng.random() < 0.93))
    if style == "patchy":
        return np.maximum(beard, lip_hair) * _step(face.noise("fbm", g.hair), 0.1, 0.8)
    chin = np.hypot(
        side / rng.uniform(0.014, 0.026),
        (above + 0.036) / rng.uniform(0.016, 0.026),
    )
    goatee = _step(chin + wobble * 40, 1.1, 0.85) * beard
    if style == "goatee":
        return goatee
    if style == "circle":
        ring = np.hypot(side / 0.034, (above + 0.01) / 0.042)
        return np.maximum(np.maximum(goatee, lip_hair), _step(ring, 1.1, 0.9) * np.maximum(beard, lip_hair))
    if style == "moustache":
        return lip_hair * _step(side, rng.uniform(0.012, 0.035), rng.uniform(0.008, 0.012))
    if style == "pencil":
        middle = rng.uniform(0.008, 0.013)
        return lip_hair * np.exp(-(((above - np.float32(middle)) / 0.0022) ** 2)) * _step(side, 0.03, 0.02)
    if style == "handlebar":
        legs = (
            _step(np.abs(side - 0.030), 0.007, 0.004)
            * _step(above, -0.05, -0.035)
            * np.maximum(beard, lip_hair)
        )
        return np.maximum(lip_hair, legs * _step(above, 0.008, 0.003))
    if style == "soul_patch":
        return _step(side, 0.008, 0.005) * _step(above, -0.03, -0.026) * _step(above, -0.011, -0.014) * beard
    if style == "curtain":
        return beard * _step(np.hypot(side, above), 0.030, 0.038)
    if style == "chops":
        return beard * _step(side, 0.026, 0.036) * _step(above, -0.05, -0.03)
    return beard * _step(above, -0.036, -0.046)  # neck


def _beard(face: _Face) -> None:
    """Beard, stubble or shaving shadow."""
    rng, t, g = face.rng, face.t, face.g
    if t.beard == "none":
        return
    shape = _beard_shape(face)
    tone = np.array(t.body_hair) * np.exp(rng.normal(0, 0.25))
    if rng.random() < 0.15:
        tone = tone * np.array([1.5, 0.9, 0.7])  # redder than the head's hair
    if t.beard == "shadow":
        # Hair under the skin scatters blue: grey, not brown.
        dust = 0.75 + 0.5 * face.noise("rough", g.hair)
        bluish = tone * 0.7 + skin_tone(t.melanin, 0.1) * np.array([0.20, 0.26, 0.33])
        face.blend(g.hair, np.clip(shape * dust * np.float32(0.1 + 0.35 * t.beard_density), 0, 1), bluish)
        return
    hairs = face.hairs(g.hair)
    if t.beard == "stubble":
        hairs = face.noise("rough", g.hair)
        cover = np.float32(0.25 + 0.4 * t.beard_density) * (0.35 + 0.9 * hairs)
    else:
        bare = 0.9 - 1.1 * t.beard_density
        cover = (hairs - np.float32(bare)) * 1.8 + 0.4
        cover = np.clip(cover, 0.15 + 0.4 * t.beard_density, 0.96)
    streak = 0.55 + 0.9 * hairs
    grey = np.array([0.3, 0.3, 0.3]) if t.age > 45 and rng.random() < 0.5 else tone
    part = _step(g.above, -0.02, -0.05)[None]  # the chin greys first
    colour = (tone[:, None] * (1 - part) + grey[:, None] * part) * streak[None]
    face.blend(g.hair, np.clip(shape * cover, 0, 1), colour, 0.12)


def _scalp(face: _Face) -> None:
    """Hair roots or stubble under the hair, back to a possibly receding hairline."""
    rng, t, g = face.rng, face.t, face.g
    if t.scalp < 0.02:
        return
    wobble = (face.noise("fbm", g.scalp) - 0.5) * 0.012
    temples = np.exp(-(((g.front - 0.035) / 0.02) ** 2))
    line = g.scalp_inside + wobble + np.float32(t.receding) * (0.4 + temples)
    soft = rng.uniform(0.001, 0.006)
    hairs = face.hairs(g.scalp)
    alpha = _step(line, soft, -soft) * np.float32(t.scalp) * (0.8 + 0.2 * hairs)
    face.blend(g.scalp, np.clip(alpha, 0, 1), np.array(t.hair)[:, None] * (0.6 + 0.7 * hairs[None]), 0.2)


def _makeup(face: _Face) -> None:
    """Blush on the cheeks."""
    rng, t = face.rng, face.t
    if t.makeup < 0.25 or rng.random() < 0.4:
        return
    cheek = face.g.fields[FIELDS.index("cheek")]
    texels = np.flatnonzero(cheek > 0.03)
    tone = skin_tone(t.melanin, 1.0) * np.array([1.05, rng.uniform(0.5, 0.85), rng.uniform(0.5, 0.95)])
    face.blend(texels, cheek[texels] * np.float32(rng.uniform(0.1, 0.6) * t.makeup), tone)


def _paint(face: _Face) -> None:
    """Carnival, sports or war paint: flat colours over parts of the face."""
    rng, g = face.rng, face.g
    if not face.t.paint:
        return
    size = g.size
    x = (np.arange(size, dtype=np.float32) + 0.5) / size - np.float32(np.asarray(face.layout.nose_tip)[0])
    u = np.broadcast_to(x[None], (size, size)).ravel()
    colours = _decode(rng.random((3, 3)) ** 0.7)
    wear = rng.uniform(0.5, 0.95) * _step(face.noise("fbm"), rng.uniform(-0.2, 0.3), rng.uniform(0.3, 0.5))
    kind = int(rng.integers(5))
    everywhere = np.arange(size * size)
    cheek = g.fields[FIELDS.index("cheek")]
    if kind == 0:  # whole face, perhaps two colours
        tone = np.where(u[None] < 0, colours[0][:, None], colours[int(rng.random() < 0.5)][:, None])
        face.blend(everywhere, wear, tone, 0.2)
    elif kind == 1:  # a flag's three bands
        band = (u > -0.06).astype(int) + (u > 0.06)
        face.blend(everywhere, wear, colours[band].T, 0.2)
    elif kind == 2:  # stripes on the cheeks
        rows = np.repeat(np.arange(size, dtype=np.float32), size)
        stripes = (np.sin(rows * np.float32(256 / size * rng.uniform(0.7, 1.3))) > 0.2) & (cheek > 0.35)
        face.blend(everywhere, wear * stripes, colours[0], 0.2)
    elif kind == 3:  # an animal's stripes
        face.blend(everywhere, wear * _step(face.noise("ridged"), 0.65, 0.75), colours[0], 0.2)
    else:  # dark eyes, as players and pandas
        for eye in g.eyes:
            face.blend(
                eye.texels,
                _step(eye.inside, 0.018, 0.012) * (eye.inside > 0) * wear[eye.texels],
                colours[0] * 0.3,
                0.15,
            )


def paint_albedo(
    rng: np.random.Generator, layout: FaceLayout, size: int = 256, traits: SkinTraits | None = None
) -> SkinTexture:
    """Paint one person's skin.

    Args:
        rng: the only source of randomness; the same state, layout and traits give the same texture.
        layout: where the features are; measured on first use and then kept, so pass the same object again.
        size: side of the texture in texels.
        traits: who it is; None draws :func:`sample_traits`.

    Returns:
        Albedo (size, size, 3) linear RGB in [0, 1] and specular (size, size); texels outside the layout's mask continue
        their neighbours.

    Raises:
        InputError: ``size`` is below 32.
    """
    if size < 32:
        raise InputError(f"a texture needs at least 32 texels a side, got size={size}.")
    who = sample_traits(rng) if traits is None else traits
    face = _Face(rng, layout, _geometry(layout, int(size)), who)
    for layer in (_skin, _wrinkles, _marks, _scalp, _makeup, _eyes, _lips, _beard, _brows, _paint):
        layer(face)
    albedo = np.clip(face.rgb, 0.002, 0.95, out=face.rgb).T.reshape(size, size, 3)
    return SkinTexture(np.ascontiguousarray(albedo), np.clip(face.gloss, 0, 1).reshape(size, size))
