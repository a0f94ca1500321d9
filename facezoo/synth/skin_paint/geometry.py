"""What painting needs to know of a layout, measured once: regions, hair lines, lids, lips, noise coordinates."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from facezoo.synth import noise
from facezoo.synth.skin_paint.arrays import Array, Indices, as_float32
from facezoo.synth.skin_paint.layout import FaceLayout
from facezoo.synth.skin_paint.survey import Survey

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
SMOOTH = 10
"""Number of random smooth functions after the named fields."""
_TEXEL = 0.00052
"""Metres a texel of the skin's noise; two atlas periods go around the head."""


class Brow(NamedTuple):
    """The texels around one brow and where they lie along and across it."""

    texels: Indices
    along: Array
    """0 at the inner, 1 at the outer end; beyond them outside."""
    across: Array
    """Metres above the polyline."""
    length: float


class Eye(NamedTuple):
    """The texels around one eye and where they lie to its lids."""

    texels: Indices
    inside: Array
    """Signed distance to the opening, metres, negative inside."""
    upper: Array
    lower: Array
    """Distances to the two lid edges, metres."""
    out: Array
    up: Array
    """Metres from the eye's centre, sideways away from the nose and upwards."""


class Geometry(NamedTuple):
    """A layout measured at one texture size; every layer reads its own texels' distances from here."""

    size: int
    fields: Array
    """(K, S²) smooth weights; names in ``FIELDS`` first, then random smooth functions of the position."""
    noise_at: Indices
    """Index of each texel into a doubled atlas, about half a millimetre a step."""
    brows: tuple[Brow, Brow]
    eyes: tuple[Eye, Eye]
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


def _lids(outline: NDArray) -> tuple[NDArray, NDArray]:
    """Split an eye's outline at its corners into the upper and the lower lid."""
    points = np.asarray(outline, float)
    first, last = int(points[:, 0].argmin()), int(points[:, 0].argmax())
    points, turn = np.roll(points, -first, 0), (last - first) % len(points)
    one, two = points[: turn + 1], np.concatenate([points[turn:], points[:1]])
    return (one, two) if one[:, 1].mean() >= two[:, 1].mean() else (two, one)


def _measure_eye(survey: Survey, outline: NDArray, side: int) -> Eye:
    inside = survey.signed(outline)
    texels = np.flatnonzero(inside < 0.022)
    upper, lower = (as_float32(survey.distance(survey.line(lid))[texels]) for lid in _lids(outline))
    offset = survey.flat[texels] - survey.line(outline, closed=True).mean(0)
    return Eye(
        texels,
        as_float32(inside[texels]),
        upper,
        lower,
        as_float32(side * offset[:, 0]),
        as_float32(offset[:, 1]),
    )


def _measure_brow(survey: Survey, polyline: NDArray) -> Brow:
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
    return Brow(texels, as_float32(along), as_float32(d[texels] * np.where(above, 1, -1)), length)


def _measure_metric(survey: Survey) -> NDArray:
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
    survey: Survey, layout: FaceLayout, mouth: NDArray, lips: NDArray, beard: NDArray
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
    smooth = np.ones((SMOOTH, len(flat)))
    for _ in range(2):  # products of two waves are blobs, single waves are stripes
        directions = waves.normal(0, 1, (SMOOTH, 3))
        length = np.exp(waves.uniform(np.log(15), np.log(50), SMOOTH)) / np.linalg.norm(directions, axis=1)
        phase = waves.uniform(0, 2 * np.pi, SMOOTH)
        smooth *= np.sin((directions * length[:, None]) @ flat.T + phase[:, None])
    return as_float32(np.concatenate([np.stack([named[name] for name in FIELDS]), smooth]))


@lru_cache(maxsize=8)
def measure_layout(layout: FaceLayout, size: int) -> Geometry:
    """Measure a layout at a texture size; about half a second, once."""
    survey = Survey(layout, size)
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
    return Geometry(
        size=size,
        fields=_measure_fields(survey, layout, mouth, either, beard),
        metric=as_float32(metric),
        noise_at=rows * 2 * noise.ATLAS + columns,
        brows=(_measure_brow(survey, layout.brow_left), _measure_brow(survey, layout.brow_right)),
        eyes=(_measure_eye(survey, layout.eye_left, 1), _measure_eye(survey, layout.eye_right, -1)),
        lips=lips,
        lip_upper=as_float32(upper[lips]),
        lip_lower=as_float32(lower[lips]),
        lip_side=as_float32(flat[lips, 0] - mouth[0]),
        mouth=np.flatnonzero(under.ravel() & over.ravel() & (either > 0)),
        hair=hair,
        beard=as_float32(beard[hair]),
        moustache=as_float32(moustache[hair]),
        side=as_float32(np.abs(flat[hair, 0] - mouth[0])),
        above=as_float32(flat[hair, 1] - mouth[1]),
        scalp=scalp,
        scalp_inside=as_float32(roots[scalp]),
        front=as_float32(np.abs(flat[scalp, 0] - mouth[0])),
        face=np.flatnonzero(survey.mask.ravel() & front),
    )
