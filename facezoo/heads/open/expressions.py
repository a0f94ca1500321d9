"""The open head's expressions: one linear field for each ARKit blend shape that is not a joint's rotation.

Peak displacements follow published motion ranges (smile 9 mm, brow lift 10 mm, lid closure 9 mm) rather than the larger
ones of sculpted sets. Left and right are the subject's.
"""

from __future__ import annotations

import numpy as np

from . import anatomy as an
from .fields import MouthFrame, smoothstep
from .rig import JAW_AXIS, JAW_OPEN_ANGLE
from .template import Template

# ARKit shapes that joints carry: name -> (joint, axis, degrees at 1).
JOINT_SHAPES = {
    "jawOpen": ("jaw", 0, 24.0),
    "jawLeft": ("jaw", 1, 6.0),
    "jawRight": ("jaw", 1, -6.0),
    # The gaze's components move the lids; the eyeballs turn by their joints.
    **{f"eyeLookDown{s}": (f"{s.lower()}_eye", 0, 25.0) for s in ("Left", "Right")},
    **{f"eyeLookUp{s}": (f"{s.lower()}_eye", 0, -25.0) for s in ("Left", "Right")},
    "eyeLookInLeft": ("left_eye", 1, -30.0),
    "eyeLookOutLeft": ("left_eye", 1, 30.0),
    "eyeLookInRight": ("right_eye", 1, 30.0),
    "eyeLookOutRight": ("right_eye", 1, -30.0),
}


class Lids:
    """Closure of both eyes as fields: how far each vertex goes when a lid travels all the way."""

    def __init__(self, m: MouthFrame) -> None:
        t, v = m.t, m.v
        self.close = {}
        for side, flip in (("left", 1.0), ("right", -1.0)):
            loop = t.loop(f"eye_{side}", 0)
            half = len(loop) // 2
            up, low = loop[: half + 1], loop[np.r_[0, np.arange(len(loop) - 1, half - 1, -1)]]
            centre = an.EYE_CENTRE * [flip, 1, 1]
            d_up, d_low = v[low] - v[up], v[up] - v[low]
            x_of = v[up][:, 0] * flip
            order = np.argsort(x_of)
            near = np.linalg.norm(v - centre, axis=1) < 26
            for name, margin, d, sgn in (("upper", up, d_up, 1.0), ("lower", low, d_low, -1.0)):
                field = np.zeros_like(v)
                x = np.clip(v[:, 0] * flip, x_of.min(), x_of.max())
                height = np.interp(x, x_of[order], v[margin][order, 1])
                travel = np.stack([np.interp(x, x_of[order], d[order, k]) for k in range(3)], -1)
                beyond = (v[:, 1] - height) * sgn
                reach = 10.5 if sgn > 0 else 11.0
                fade = (1 - smoothstep(beyond / reach)) ** 1.2 * (beyond > -0.6)
                sideways = np.clip(v[:, 0] * flip - x_of.max(), 0, None) + np.clip(
                    x_of.min() - v[:, 0] * flip, 0, None
                )
                skin = near & (t.part == "skin") & (v[:, 2] > -14)
                field[skin] = (travel * (fade * np.exp(-((sideways / 3.5) ** 2)))[:, None])[skin]
                field[margin] = d
                for ring, share in ((1, 1.0), (2, 0.35)):
                    inner = t.loop(f"eye_{side}", ring)
                    pick = (
                        inner[: half + 1]
                        if sgn > 0
                        else inner[np.r_[0, np.arange(len(loop) - 1, half - 1, -1)]]
                    )
                    field[pick] = d * share
                self.close[side, name] = field

    def __call__(self, side: str, upper: float, lower: float) -> np.ndarray:
        """Displacement when the upper lid travels ``upper`` and the lower lid ``lower`` of the opening."""
        return upper * self.close[side, "upper"] + lower * self.close[side, "lower"]


def build_expressions(t: Template) -> dict[str, np.ndarray]:
    """Named displacement fields (V, 3) in mm."""
    m = MouthFrame(t)
    v = m.v
    lids = Lids(m)
    out: dict[str, np.ndarray] = {}

    def pair(name: str, field: np.ndarray) -> None:
        out[f"{name}Left"] = field * m.left[:, None]
        out[f"{name}Right"] = field * m.right[:, None]

    # Brows. Forehead skin follows; the eyeball's surroundings stay.
    away = 1 - m.plateau((31.6, 0.6, 0.0), 9.5, 3.0)
    inner = m.bump((14, 22, 16), (15, 14, 30)) * away
    outer = m.bump((44, 20, 4), (15, 14, 30)) * away
    forehead = m.bump((18, 42, 18), (26, 18, 40))
    out["browInnerUp"] = m.vector(inner, dy=7.5, dz=0.8) + m.vector(forehead, dy=2.6)
    pair("browOuterUp", m.vector(outer, dy=8.0) + m.vector(m.bump((44, 40, 4), (18, 16, 40)), dy=2.4))
    pair("browDown", m.vector(inner, dx=-3.2, dy=-6.2, dz=1.2) + m.vector(outer, dy=-2.6, dx=-1.2))

    # Eyes.
    for side in ("left", "right"):
        s = side.capitalize()
        out[f"eyeBlink{s}"] = lids(side, 0.86, 0.14)
        out[f"eyeWide{s}"] = lids(side, -0.26, -0.05)
        out[f"eyeLookDown{s}"] = lids(side, 0.42, -0.10)
        out[f"eyeLookUp{s}"] = lids(side, -0.20, 0.06)
        for way, gain in (("In", -1.0), ("Out", 1.0)):
            flip = gain if side == "left" else -gain
            shift = m.plateau((31.6, 0.6, 6.0), 3.0, 5.0) * (m.left if side == "left" else m.right)
            shift = shift * (t.part == "skin") * (v[:, 2] > -6)
            out[f"eyeLook{way}{s}"] = np.stack([shift * 0.5 * flip, 0 * shift, 0 * shift], -1)
    squint = m.vector(m.bump((34, -10, 6), (14, 7, 14)), dy=1.8, dz=0.8) * away[:, None]
    pair("eyeSquint", squint)
    cheek = m.bump((37, -22, 6), (14, 12, 18))
    pair("cheekSquint", m.vector(cheek, dy=4.6, dz=2.2))
    for side in ("left", "right"):
        s = side.capitalize()
        out[f"eyeSquint{s}"] += lids(side, 0.14, 0.26)
        out[f"cheekSquint{s}"] += lids(side, 0.0, 0.14)

    # Nose and cheeks.
    wing = m.bump((16, -36, 22), (8, 9, 14))
    pair("noseSneer", m.vector(wing, dx=0.8, dy=5.2, dz=-0.6) + m.vector(m.bump((14, -50, 22), (8, 10, 12)) * m.upper, dy=3.4)
         + m.vector(m.bump((10, -4, 14), (8, 8, 12)), dy=1.2, dz=0.8))  # fmt: skip
    puff = m.bump((42, -60, 0), (15, 17, 20))
    out["cheekPuff"] = m.vector(puff, dx=7.0, dz=5.0) + m.vector(m.bump((12, -54, 24), (12, 7, 12)), dz=2.0)

    # Mouth: fields near the lips, upper and lower apart.
    lip = np.exp(-0.5 * (m.line_distance / 9.0) ** 2) * np.exp(
        -0.5 * (np.clip(np.abs(v[:, 0]) - 22, 0, None) / 6) ** 2
    )
    lip *= smoothstep((v[:, 2] + 30) / 26)
    corner = m.bump((25.6, -67, 9), (9.5, 10.5, 16))
    around = m.bump((0, -67, 16), (30, 17, 30))
    fold = m.bump((34, -48, 8), (12, 13, 16))
    pair("mouthSmile", m.vector(corner, dx=5.6, dy=7.0, dz=-3.6) + m.vector(fold, dx=1.6, dy=3.8, dz=1.9)
         + m.vector(lip * m.middle * np.abs(m.sign), dx=1.2, dy=1.4, dz=-0.8))  # fmt: skip
    pair(
        "mouthFrown",
        m.vector(corner, dx=0.6, dy=-6.2, dz=-0.8) + m.vector(m.bump((24, -82, 8), (10, 9, 12)), dy=-1.6),
    )
    pair("mouthDimple", m.vector(corner, dx=4.2, dy=0.8, dz=-4.2))
    pair(
        "mouthStretch",
        m.vector(corner, dx=6.2, dy=-2.6, dz=-3.4)
        + m.vector(m.bump((30, -84, 4), (12, 12, 16)), dx=2.0, dy=-1.6),
    )
    half = 0.5 + 0.5 * np.abs(m.sign)
    lifted = lip * m.upper * np.clip(1.5 * m.middle, 0, 1) * half
    lowered = lip * m.lower * np.clip(1.5 * m.middle, 0, 1) * half
    pair(
        "mouthUpperUp",
        m.vector(lifted, dy=5.6, dz=0.6) + m.vector(m.bump((16, -46, 20), (10, 7, 12)) * m.upper, dy=2.2),
    )
    pair(
        "mouthLowerDown",
        m.vector(lowered, dy=-5.6, dz=0.4) + m.vector(m.bump((14, -84, 16), (12, 7, 14)) * m.lower, dy=-2.2),
    )
    out["mouthShrugUpper"] = m.vector(lip * m.upper * m.middle, dy=3.2, dz=2.2)
    out["mouthShrugLower"] = m.vector(lip * m.lower * m.middle, dy=2.0, dz=3.2) + m.vector(
        m.bump((0, -95, 16), (16, 13, 16)) * m.lower, dy=4.0, dz=0.6
    )
    press = lip * m.middle
    pair(
        "mouthPress", m.vector(press * m.upper, dy=-1.1, dz=-1.6) + m.vector(press * m.lower, dy=1.1, dz=-1.6)
    )
    roll = np.exp(-0.5 * (m.line_distance / 6.5) ** 2) * m.middle * smoothstep((v[:, 2] + 2) / 12)
    out["mouthRollUpper"] = m.vector(roll * m.upper, dy=-1.6, dz=-5.0)
    out["mouthRollLower"] = m.vector(roll * m.lower, dy=1.8, dz=-5.4)
    narrow = lip + 0.5 * around * (1 - lip)
    x_in = np.clip(np.abs(v[:, 0]) / 25.6, 0, 1.25) * np.exp(
        -0.5 * (np.clip(np.abs(v[:, 0]) - 26, 0, None) / 13) ** 2
    )
    out["mouthPucker"] = (
        m.vector(narrow * x_in, dx=-8.5) + m.vector(around, dz=3.6) + m.vector(lip * m.middle, dz=3.4)
    )
    out["mouthFunnel"] = (
        m.vector(narrow * x_in, dx=-6.0)
        + m.vector(lip * m.middle, dz=5.2)
        + m.vector(around, dz=2.2)
        + m.vector(lip * m.upper * m.middle, dy=3.8)
        + m.vector(lip * m.lower * m.middle, dy=-4.2)
    )
    for name, sideways in (("mouthLeft", 1.0), ("mouthRight", -1.0)):
        shift = np.clip(lip + around, 0, 1)
        out[name] = np.stack([shift * 8.0 * sideways, shift * 0.0, -shift * 0.9], -1)
    out["jawForward"] = m.vector(
        smoothstep((-v[:, 1] - 52) / 40) * m.lower * smoothstep((v[:, 2] + 66) / 60), dz=6.0
    )

    # mouthClose undoes the lips' parting at jawOpen = 1, the jaw staying open.
    angle = JAW_OPEN_ANGLE
    p = v - JAW_AXIS
    opened = np.stack(
        [
            0 * p[:, 0],
            p[:, 1] * (np.cos(angle) - 1) - p[:, 2] * np.sin(angle),
            p[:, 1] * np.sin(angle) + p[:, 2] * (np.cos(angle) - 1),
        ],
        -1,
    )
    out["mouthClose"] = _mouth_close(m, opened)
    tongue = (t.part == "mouth") & (t.lip_side < 0)
    out["tongueOut"] = np.zeros_like(v)
    for ring, (dy, dz) in {5: (3.5, 22.0), 6: (3.0, 26.0)}.items():
        rows = tongue & (t.ring == ring)
        width = np.exp(-0.5 * (v[rows, 0] / 11) ** 2)
        out["tongueOut"][rows] = np.stack([-0.25 * v[rows, 0] * width, dy * width, dz * width], -1)

    names = arkit_names()
    fields = {}
    for name in names:
        field = out[name] * (m.face[:, None] if name != "tongueOut" else 1.0)
        ball = np.char.startswith(t.part.astype(str), "eyeball")
        field[ball] = 0.0
        fields[name] = field
    return _mirrored(fields, t)


def _mouth_close(m: MouthFrame, opened: np.ndarray) -> np.ndarray:
    """Lower lip up by 65 % and upper lip down by 35 % of the parting at the lip line, fading over chin and philtrum."""
    from .rig import pose_correctives, skinning_weights

    t = m.t
    weight = skinning_weights(t)[:, 2]
    corrective = pose_correctives(t)[:, :, (2 - 1) * 9 + 7] * np.sin(JAW_OPEN_ANGLE)
    moved = opened * weight[:, None] + corrective
    loop = t.loop("mouth", 0)
    partner = loop[(-np.arange(len(loop))) % len(loop)]
    x = m.v[loop, 0]
    gap = moved[partner] - moved[loop]  # for an upper vertex: down to its lower partner
    field = np.zeros_like(m.v)
    for side, share, reach in ((1.0, 0.35, 13.0), (-1.0, 0.65, 20.0)):
        rows = np.flatnonzero(m.t.lip_side[loop] * side >= 0)
        order = rows[np.argsort(x[rows])]
        # The further from the lips, the wider the average over the lip line, so that the skin stretches evenly.
        across = np.linspace(-60.0, 60.0, 241)
        along = np.stack(
            [np.interp(across, x[order], gap[order, k], left=0.0, right=0.0) for k in range(3)], -1
        )
        width = 1.5 + 0.9 * m.line_distance[:, None]
        kernel = np.exp(-0.5 * ((m.v[:, :1] - across) / width) ** 2)
        travel = (kernel @ along) / kernel.sum(1, keepdims=True) * share
        fade = np.exp(-0.5 * (m.line_distance / reach) ** 2) * smoothstep((m.v[:, 2] + 2) / 10)
        # Next to the corner the two lips' skin must agree: there the field vanishes.
        fade *= np.clip(m.line_distance / 3 + np.clip((25.2 - np.abs(m.v[:, 0])) / 3, 0, 1), 0, 1)
        pick = m.t.lip_side == side
        field[pick] = (travel * fade[:, None])[pick]
    field[loop] = (
        gap * np.where(m.t.lip_side[loop] > 0, 0.35, np.where(m.t.lip_side[loop] < 0, 0.65, 0.0))[:, None]
    )
    teeth = (t.part == "mouth") & (t.ring >= 3)
    field[teeth] = 0
    # The field is applied before skinning: bring it back into the jaw's rest frame.
    c, s = np.cos(JAW_OPEN_ANGLE), np.sin(JAW_OPEN_ANGLE)
    rotation = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    blend = weight[:, None, None] * rotation + (1 - weight)[:, None, None] * np.eye(3)
    return np.linalg.solve(blend, field[..., None])[..., 0]


def _mirrored(fields: dict[str, np.ndarray], t: Template) -> dict[str, np.ndarray]:
    """Make left/right pairs exact mirrors and the other fields symmetric."""
    flip = np.array([-1.0, 1.0, 1.0])
    out = {}
    for name, field in fields.items():
        other = mirror_name(name)
        out[name] = (field + fields[other][t.mirror] * flip) / 2
    return out


def mirror_name(name: str) -> str:
    """The blend shape of the other side (itself when there is none)."""
    if name.endswith("Left"):
        return name[:-4] + "Right"
    return name[:-5] + "Left" if name.endswith("Right") else name


def arkit_names() -> list[str]:
    """ARKit's shapes that are components of the basis, in ARKit's order (the rest are joint rotations)."""
    sides = ("Left", "Right")
    names = [
        f"eye{a}{s}"
        for s in sides
        for a in ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
    ]
    names += ["jawForward", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight"]
    names += [f"mouth{a}{s}" for a in ("Smile", "Frown", "Dimple", "Stretch") for s in sides]
    names += ["mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"]
    names += [f"mouth{a}{s}" for a in ("Press", "LowerDown", "UpperUp") for s in sides]
    names += [f"browDown{s}" for s in sides] + ["browInnerUp"] + [f"browOuterUp{s}" for s in sides]
    names += (
        ["cheekPuff"] + [f"cheekSquint{s}" for s in sides] + [f"noseSneer{s}" for s in sides] + ["tongueOut"]
    )
    return names
