"""What the open head's vertices mean: region masks, nested subsets, the 68 landmarks and the visible contour."""

from __future__ import annotations

import numpy as np

from facezoo.mesh.closest import closest_points
from facezoo.mesh.subsets import nested_subsets

from . import anatomy as an
from .skin import curve, lip_curve
from .template import Template

DENSE = 1609
WITHOUT_NECK = 4757
SUBSETS = (805, 403, 202, 101)
CONTOUR_STEPS = 16
CONTOUR_DEGREES = 39


def _symmetric_pick(t: Template, score: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` vertices of lowest score, taken in mirror pairs, with the parity made right on the midline."""
    score = (score + score[t.mirror]) / 2
    order = np.argsort(score, kind="stable")
    chosen = order[np.isfinite(score[order])][:count]
    lonely = chosen[~np.isin(t.mirror[chosen], chosen)]
    if len(lonely):  # a pair was split at the limit: exchange its half for the next midline vertex
        middle = [i for i in order[count:] if t.mirror[i] == i and np.isfinite(score[i])][: len(lonely)]
        chosen = np.concatenate([chosen[np.isin(t.mirror[chosen], chosen)], middle])
    return np.sort(chosen)


def region_masks(t: Template) -> dict[str, np.ndarray]:
    """Vertex ids of named regions (FLAME's names where they exist)."""
    v = t.vertices
    part = t.part.astype(str)
    ax, y, z = np.abs(v[:, 0]), v[:, 1], v[:, 2]
    face = dense_vertices(t)
    on_face = np.zeros(len(v), bool)
    on_face[face] = True
    eye = np.hypot((ax - 31.5) / 21, (y - 0.6) / 15) < 1
    lips = (part == "mouth") & (t.ring == 0)
    upper = np.interp(ax, *lip_curve(an.LIP_UPPER_OUTER, 60)[:, :2].T)
    lower = np.interp(ax, *lip_curve(an.LIP_LOWER_OUTER, 60)[:, :2].T)
    lips |= (part == "skin") & (ax < 25.6) & (y < upper) & (y > lower) & (z > 5)
    no_neck = head_without_neck(t)
    neck = np.ones(len(v), bool)
    neck[no_neck] = False
    masks = {
        "face": on_face,
        "eye_region": on_face & eye,
        "left_eye_region": on_face & eye & (v[:, 0] > 0),
        "right_eye_region": on_face & eye & (v[:, 0] < 0),
        "forehead": on_face & (y > 27),
        "upper_face": on_face & (y > -46),
        "nose": on_face & (ax < 20 - np.clip((y + 40) / 5, 0, 9)) & (y < 6) & (y > -46.5) & (z > 8),
        "lips": lips,
        "left_ear": part == "ear_left",
        "right_ear": part == "ear_right",
        "left_eyeball": part == "eyeball_left",
        "right_eyeball": part == "eyeball_right",
        "neck": neck,
        "scalp": (part == "skin") & ~on_face & ((y > 58) | ((z < -96) & (y > -60))),
        "cranium": (part == "skin") & ((y > 84) | ((z < -80) & (y > -40))),
        "teeth": (part == "mouth") & (t.ring >= 3) & (t.ring <= 4),
        "mouth_interior": (part == "mouth") & (t.ring >= 1),
        "eye_socket": np.char.startswith(part, "eye_") & (t.ring >= 1),
    }
    return {name: np.flatnonzero(m) for name, m in masks.items()}


def dense_vertices(t: Template) -> np.ndarray:
    """The 1609 vertices of the face: hairline to under the chin, ear to ear, lids and lips, no cavities."""
    theta, s = np.abs(t.chart[:, 0]), t.chart[:, 1]
    part = t.part.astype(str)
    outer = (
        (part == "skin")
        | ((part == "mouth") & (t.ring == 0))
        | (np.char.startswith(part, "eye_") & (t.ring == 0))
    )
    with np.errstate(invalid="ignore"):
        centre, below, above = 205.0, 100.0, 105.0
        half = np.where(s > centre, below, above)
        score = (np.abs(s - centre) / half) ** 3.0 + (theta / 1.22) ** 3.0
    score = np.where(outer, score, np.inf)
    while True:  # vertices at the rim without a face inside are exchanged for the next ones
        chosen = _symmetric_pick(t, score, DENSE)
        used = np.unique(t.faces[np.isin(t.faces, chosen).all(1)])
        lonely = np.setdiff1d(chosen, used)
        if not len(lonely):
            return chosen
        score[lonely] = np.inf


def head_without_neck(t: Template) -> np.ndarray:
    """The 4757 vertices above the neck."""
    v = t.vertices
    height = v[:, 1] + 0.22 * (v[:, 2] + 84)
    return _symmetric_pick(t, -np.where(t.part == "skin", height, 1e3), WITHOUT_NECK)


def dense_subsets(t: Template) -> dict[int, np.ndarray]:
    """Nested, mirror-symmetric subsets of the dense set."""
    out = {DENSE: dense_vertices(t), WITHOUT_NECK: head_without_neck(t)}
    thinned = nested_subsets(t.vertices, t.faces, SUBSETS, region=out[DENSE], mirror=t.mirror)
    return {**out, **{n: d.kept for n, d in thinned.items()}}


def _half_landmarks() -> np.ndarray:
    """Targets (68, 3) in mm in iBUG's order; the 300W-LP convention with the mouth closed."""
    jaw = np.array(an.JAW)
    # The labels' mean mouth is parted by 5 mm: turn the jaw back by the same amount.
    jaw[:, 1] += 2.6 * np.clip((jaw[:, 2] + 72) / 77, 0, 1.1)
    left_jaw = jaw[::-1]  # chin to the left ear: points 8..16
    out = np.zeros((68, 3))
    out[8:17] = left_jaw
    out[22:27] = an.BROW
    out[27:31] = an.NOSE_TIP_ROW
    out[33], out[34], out[35] = (0, -44.8, 26.6), (7.2, -43.4, 24.3), (12.6, -42.4, 20.2)
    upper, lower = curve(an.LID_UPPER, 400), curve(an.LID_LOWER, 400)

    def at(line: np.ndarray, x: float) -> np.ndarray:
        return line[np.argmin(np.abs(line[:, 0] - x))]

    out[42], out[45] = upper[0], upper[-1]
    out[43], out[44] = at(upper, 27.4), at(upper, 36.8)
    out[46], out[47] = at(lower, 36.7), at(lower, 27.0)
    lip = {
        n: lip_curve(p, 300)
        for n, p in (("uo", an.LIP_UPPER_OUTER), ("lo", an.LIP_LOWER_OUTER), ("in", an.LIP_LINE))
    }
    out[54] = an.LIP_CORNER
    out[51], out[52], out[53] = lip["uo"][0], at(lip["uo"], 6.0), at(lip["uo"], 17.0)
    out[57], out[56], out[55] = lip["lo"][0], at(lip["lo"], 8.8), at(lip["lo"], 16.6)
    out[64] = at(lip["in"], 23.6)
    out[62] = out[66] = lip["in"][0]
    out[63] = out[65] = at(lip["in"], 7.8)
    for right, left in MIRROR_PAIRS:
        out[right] = out[left] * [-1, 1, 1]
    return out


MIRROR_PAIRS = (
    [(i, 16 - i) for i in range(8)]
    + [(17 + i, 26 - i) for i in range(5)]
    + [(31, 35), (32, 34)]
    + [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    + [(48, 54), (49, 53), (50, 52), (58, 56), (59, 55), (60, 64), (61, 63), (67, 65)]
)


def landmarks68(t: Template) -> dict[str, np.ndarray]:
    """``landmarks.ibug68``: closest points of the mean skin to the label convention."""
    targets = _half_landmarks()
    part = t.part[t.faces]
    loops = ((t.part == "mouth") & (t.ring == 0)) | (
        np.char.startswith(t.part.astype(str), "eye_") & (t.ring == 0)
    )
    skin = ((part == "skin") | loops[t.faces]).all(1)
    faces, bary = np.zeros(68, int), np.zeros((68, 3))
    lips = dict.fromkeys((61, 62, 63), 1.0) | dict.fromkeys((65, 66, 67), -1.0)
    for i, target in enumerate(targets):
        ok = skin
        if i in lips:
            ok = (
                skin
                & (t.lip_side[t.faces] * lips[i] > -0.5).all(1)
                & (t.lip_side[t.faces] * lips[i] > 0.5).any(1)
            )
        ids = np.flatnonzero(ok)
        hit = closest_points(target[None], t.vertices, t.faces[ids])
        faces[i], bary[i] = ids[hit.face[0]], hit.bary[0]
    return {"landmarks.ibug68.faces": faces, "landmarks.ibug68.bary": bary}


def contour_paths(
    t: Template, landmark_faces: np.ndarray, landmark_bary: np.ndarray
) -> dict[str, np.ndarray]:
    """For each jaw point a path over the cheek along which the visible contour wanders as the head turns.

    Returns:
        ``extra.contour_path.faces`` (17, P) and ``.bary`` (17, P, 3); step 0 is the jaw point itself.
    """
    part = t.part[t.faces]
    ids = np.flatnonzero((part == "skin").all(1) & (np.abs(t.chart[t.faces][..., 0]).max(1) < 2.4))
    flat = np.nan_to_num(np.concatenate([t.chart * [100.0, 1.0], np.zeros((len(t.chart), 1))], 1))
    faces = np.zeros((17, CONTOUR_STEPS), int)
    bary = np.zeros((17, CONTOUR_STEPS, 3))
    for k in range(17):
        start = np.einsum("kc,k->c", t.chart[t.faces[landmark_faces[k]]], landmark_bary[k])
        f = np.linspace(1.0, 0.32, CONTOUR_STEPS)
        lift = np.linspace(0.0, 1.0, CONTOUR_STEPS)
        path = np.stack([start[0] * f * 100, start[1] - 6.0 * lift, 0 * f], -1)
        hit = closest_points(path, flat, t.faces[ids])
        faces[k], bary[k] = ids[hit.face], hit.bary
        faces[k, 0], bary[k, 0] = landmark_faces[k], landmark_bary[k]
    return {"extra.contour_path.faces": faces, "extra.contour_path.bary": bary}


def contour_table(t: Template, paths: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """FLAME-style jaw line by yaw (79, 17) from the paths on the mean head."""
    faces, bary = paths["extra.contour_path.faces"], paths["extra.contour_path.bary"]
    p = np.einsum("kpc,kpcx->kpx", bary, t.vertices[t.faces[faces]])
    rows_f, rows_b = [], []
    side = np.sign(np.arange(17) - 8.0)
    for row in range(2 * CONTOUR_DEGREES + 1):
        yaw = np.radians(row if row <= CONTOUR_DEGREES else CONTOUR_DEGREES - row)
        # Row's yaw is the head's turn to its right; FLAME's rows count turns to the left (``contour_row``).
        across = p[..., 0] * np.cos(yaw) - p[..., 2] * np.sin(yaw)
        best = (across * side[:, None]).argmax(1)
        best[8] = 0
        rows_f.append(faces[np.arange(17), best])
        rows_b.append(bary[np.arange(17), best])
    return {"contour.faces": np.array(rows_f), "contour.bary": np.array(rows_b)}
