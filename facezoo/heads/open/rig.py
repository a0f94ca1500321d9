"""Joints, skinning weights and pose correctives of the open head, all from geometry (mm in, FLAME's layout out)."""

from __future__ import annotations

import numpy as np

from . import anatomy as an
from .fields import MouthFrame, smoothstep
from .template import Template

PARENTS = np.array([-1, 0, 1, 1, 1])
JAW_AXIS = np.array([0.0, -15.0, -70.0])  # between the condyles
JAW_OPEN_ANGLE = np.radians(24.0)  # ARKit's jawOpen = 1: about 42 mm between the incisors
JOINTS = np.array(
    [[0.0, -165.0, -92.0], [0.0, -78.0, -84.0], JAW_AXIS, an.EYE_CENTRE, an.EYE_CENTRE * [-1, 1, 1]]
)


def joint_regressor(t: Template) -> np.ndarray:
    """Weights (5, V) that give the joints from shaped vertices: least-norm over a ring of vertices around each joint."""
    v = t.vertices
    skin = np.arange(len(v)) < len(v) - 2 * 546
    groups = [
        skin & (np.abs(v[:, 1] + 165) < 18) & (t.part == "skin"),
        skin & (np.abs(v[:, 1] + 78) < 22) & (v[:, 2] < -45) & (t.part == "skin"),
        skin & (np.abs(v[:, 1] + 15) < 24) & (v[:, 2] < -35) & (v[:, 2] > -105) & (t.part == "skin"),
        t.part == "eyeball_left",
        t.part == "eyeball_right",
    ]
    out = np.zeros((5, len(v)))
    for j, group in enumerate(groups):
        ids = np.flatnonzero(group)
        a = np.concatenate([np.ones((1, len(ids))), v[ids].T / 100])
        b = np.concatenate([[1.0], JOINTS[j] / 100])
        out[j, ids] = np.linalg.lstsq(a, b, rcond=None)[0]
    return out


def skinning_weights(t: Template) -> np.ndarray:
    """Skinning weights (V, 5), rows sum to 1, mirrored."""
    v = t.vertices
    m = MouthFrame(t)
    # The neck bends between its base and the skull's base, higher at the back.
    height = v[:, 1] + 0.30 * (v[:, 2] + 84)
    head = smoothstep((height + 166) / 72)
    # The jaw moves what lies below the line from its axis to the mouth; lips part where the chart parts them.
    line = np.interp(v[:, 2], [-72, 9], [-18, -67.0])
    depth = (line - m.open_y) / np.interp(np.abs(v[:, 0]), [10, 45, 62], [5.5, 20, 26])
    jaw = smoothstep(0.5 + 0.5 * depth)
    jaw *= smoothstep((v[:, 2] + 88) / 26)
    under = np.clip((-v[:, 1] - 110) / 14, 0, 1) * np.clip((-v[:, 2] - 6) / 34, 0, 1)
    jaw *= 1 - smoothstep(1.35 * under)
    jaw *= 1 - smoothstep((-v[:, 1] - 118) / 14)
    inside = t.part == "mouth"
    lower = np.array([1, 1, 1, 1, 1, 1, 0.75, 0.35, 0.2])[np.clip(t.ring, 0, 8)]
    upper = np.array([0, 0, 0, 0, 0, 0, 0.0, 0.05, 0.2])[np.clip(t.ring, 0, 8)]
    corner = 1 - np.clip(2.2 * np.sqrt(np.clip(1 - (v[:, 0] / 25.6) ** 2, 0, 1)), 0, 1)
    loop = np.where(t.lip_side > 0, upper, np.where(t.lip_side < 0, lower, 0.45))
    jaw = np.where(inside, loop * (1 - corner) + 0.45 * corner, jaw)
    for side in ("left", "right"):
        jaw[(t.part == f"ear_{side}") | (t.part == f"eyeball_{side}") | (t.part == f"eye_{side}")] = 0
    weights = np.zeros((len(v), 5))
    weights[:, 0] = 1 - head
    weights[:, 2] = head * jaw
    weights[:, 1] = head * (1 - jaw)
    for j, side in ((3, "left"), (4, "right")):
        weights[t.part == f"eyeball_{side}"] = np.eye(5)[j]
    mirrored = weights[t.mirror][:, [0, 1, 2, 4, 3]]
    weights = (weights + mirrored) / 2
    return weights / weights.sum(1, keepdims=True)


def pose_correctives(t: Template) -> np.ndarray:
    """Pose correctives (V, 3, 36) in mm per entry of R - I: an opening jaw draws the mouth's corners in and cheeks flat."""
    v = t.vertices
    m = MouthFrame(t)
    out = np.zeros((len(v), 3, 36))
    sine = (2 - 1) * 9 + 7  # entry (2, 1) of the jaw's rotation: the sine of its opening
    scale = 1 / np.sin(JAW_OPEN_ANGLE)
    corner = m.bump((25.6, -67, 9), (11, 13, 16))
    cheek = m.bump((43, -50, -4), (17, 22, 22))
    out[:, 0, sine] = -(3.2 * corner + 1.4 * cheek) * m.sign * scale
    # The condyles slide forward as the mouth opens: without it the chin would run into the throat.
    out[:, 2, sine] = (6.0 * skinning_weights(t)[:, 2] - 1.8 * cheek) * scale
    return out
