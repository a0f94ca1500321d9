"""Feature lines of the open head in its texture: what skin painting and hair need to know, as UV polylines."""

from __future__ import annotations

import numpy as np

from . import anatomy as an
from .skin import curve, lid_margin, lip_curve
from .template import Template, uv_of_chart

_BEARD = [(0, -47.5, 25), (16, -49.5, 20), (27, -52, 11), (38, -54, 2), (52, -48, -12), (61, -34, -34), (67, -14, -52),
          (70, -16, -68), (66, -44, -72), (58, -82, -66), (50, -112, -62), (36, -128, -50), (0, -132, -41)]  # fmt: skip
_MOUSTACHE = [(0, -47.6, 25.5), (9, -46.5, 23.5), (18, -51, 19), (26, -60, 10), (29, -68, 6), (25.6, -66.5, 9), (17, -61.6, 19.5),
              (6.2, -57.2, 26.5), (0, -58.2, 27.2)]  # fmt: skip
_HAIRLINE = [(0, 71, 9), (18, 71, 7), (34, 66, 0), (46, 55, -10), (52, 44, -16), (60, 34, -28), (61, 22, -32), (65, 12, -46),
             (67, -2, -54), (70, -14, -62), (71.5, -8, -72)]  # fmt: skip
_BEHIND = [(66, -34, -98), (58, -58, -112), (40, -80, -126), (20, -88, -134), (0.0, -90, -138)]
_NECK = [(0, -134, -41), (24, -130, -50), (44, -126, -66), (54, -122, -82)]


def texture_lines(t: Template) -> dict[str, np.ndarray]:
    """``extra.uv.<name>`` polylines (N, 2); left lines run inner to outer, closed outlines counter-clockwise or not."""
    skin, length = t.skin, t.skin.loft.length

    def uv(points: np.ndarray, side: float = 0.0) -> np.ndarray:
        points = np.asarray(points, float)
        return uv_of_chart(skin.locate(points, np.full(len(points), side)), length)

    def flip(line: np.ndarray) -> np.ndarray:
        return line * [-1, 1] + [1, 0]

    def both(line: np.ndarray) -> np.ndarray:
        """A half line that starts on the midline, continued on the other side."""
        return np.concatenate([line[::-1], flip(line)[1:]])

    out: dict[str, np.ndarray] = {}
    brow = uv(curve(an.BROW, 24) + [0, 0.5, 0])
    eye = np.concatenate([uv(lid_margin(True, 24)), uv(lid_margin(False, 24))[-2:0:-1]])
    out["brow_left"], out["brow_right"] = brow, flip(brow)
    out["eye_left"], out["eye_right"] = eye, flip(eye)
    for name, side, outer in (("upper", 1.0, an.LIP_UPPER_OUTER), ("lower", -1.0, an.LIP_LOWER_OUTER)):
        rim = both(uv(lip_curve(outer, 30), side))
        line = both(uv(lip_curve(an.LIP_LINE, 30), side))
        out[f"lip_{name}"] = np.concatenate([rim, line[-2:0:-1]])
    out["beard"] = both(uv(curve(_BEARD, 60)))
    out["moustache"] = both(uv(np.array(_MOUSTACHE)))
    hairline, behind = uv(curve(_HAIRLINE, 50)), uv(np.array(_BEHIND[:-1]))
    nape = np.array([[0.995, behind[-1, 1]], [0.995, 1.0], [0.5, 1.0]])
    half = np.concatenate([hairline, behind, nape])
    out["scalp"] = np.concatenate([half, flip(half)[::-1][1:-1]])
    out["hairline"] = both(hairline)
    out["neck_line"] = both(uv(np.array(_NECK)))
    points = uv(np.array([(0, -33, 44), an.NOSTRIL_CENTRE, (41, -30, 7), (71, -8, -88)], float))
    out["nose_tip"] = points[0]
    for name, p in (("nostrils", points[1]), ("cheeks", points[2]), ("ears", points[3])):
        out[name] = np.stack([p, p * [-1, 1] + [1, 0]])
    return {f"extra.uv.{name}": line.astype(np.float32) for name, line in out.items()}
