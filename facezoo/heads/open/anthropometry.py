"""Published head and face sizes, and how each is measured on the open head.

Means and standard deviations by sex and the correlations are those of the NIOSH 2003 survey (2,543 men and 1,454
women, US government data) as tabulated in ``specs/open_head_facts.md``; lengths in mm.
"""

from __future__ import annotations

import numpy as np

from .template import Template

MEASURES = (
    "head_breadth", "head_length", "bizygomatic", "bigonial", "min_frontal", "menton_sellion", "subnasale_sellion",
    "nose_breadth", "nose_protrusion", "nasal_root", "lip_length", "interpupillary",
)  # fmt: skip
SEXES = ("male", "female")
MEAN = {
    "male": np.array([153.1, 197.4, 143.9, 120.7, 105.7, 123.2, 51.9, 37.8, 20.8, 16.7, 51.7, 65.1]),
    "female": np.array([147.0, 187.6, 136.2, 111.6, 103.2, 114.2, 47.7, 35.8, 18.9, 16.6, 49.2, 63.1]),
}
SD = {
    "male": np.array([5.96, 7.51, 6.86, 10.70, 5.78, 7.16, 4.12, 4.80, 2.75, 2.30, 4.27, 3.80]),
    "female": np.array([5.75, 7.60, 6.53, 9.27, 5.53, 6.47, 3.81, 4.92, 2.68, 2.04, 4.47, 3.98]),
}
# Lower triangles in the order of MEASURES.
_CORRELATION = {
    "male": """
        1
        .19 1
        .66 .17 1
        .43 .18 .65 1
        .46 .32 .52 .34 1
        .22 .36 .23 .18 .29 1
        .02 .10 -.01 -.10 .07 .47 1
        .21 .16 .29 .20 .28 .21 -.08 1
        .00 .14 .02 .02 -.03 .17 .32 -.23 1
        .25 .24 .30 .28 .36 .23 -.10 .26 -.11 1
        .18 .19 .27 .15 .27 .17 .06 .51 -.05 .18 1
        .32 .26 .46 .27 .50 .26 .00 .50 -.10 .32 .39 1""",
    "female": """
        1
        .10 1
        .58 .14 1
        .37 .15 .66 1
        .34 .34 .49 .42 1
        .19 .39 .28 .20 .30 1
        .08 .14 .00 -.04 .07 .51 1
        .13 .22 .36 .38 .28 .26 -.05 1
        .06 .19 .04 -.04 .07 .21 .34 -.26 1
        .12 .22 .30 .27 .32 .18 -.08 .29 -.06 1
        .06 .29 .26 .26 .29 .28 .08 .59 -.05 .22 1
        .27 .33 .50 .39 .57 .35 .05 .56 -.08 .42 .46 1""",
}


def covariance(sex: str) -> np.ndarray:
    """Covariance (12, 12) of the measures for one sex, mm²."""
    n = len(MEASURES)
    c = np.eye(n)
    rows = [[float(x) for x in line.split()] for line in _CORRELATION[sex].split("\n") if line.strip()]
    for i, row in enumerate(rows):
        c[i, : i + 1] = row
        c[: i + 1, i] = row
    return c * np.outer(SD[sex], SD[sex])


def measure(vertices: np.ndarray, points: dict[str, np.ndarray]) -> np.ndarray:
    """Measure heads in the neutral pose.

    Args:
        vertices: (..., V, 3).
        points: vertex ids by name, from :func:`measuring_points`.

    Returns:
        (..., 12) in the unit of the vertices, in the order of ``MEASURES``.
    """
    v = vertices

    def distance(a: str, b: str) -> np.ndarray:
        return np.linalg.norm(v[..., points[a][0], :] - v[..., points[b][0], :], axis=-1)

    def breadth(region: str) -> np.ndarray:
        x = v[..., points[region], 0]
        return x.max(-1) - x.min(-1)

    def centre(region: str) -> np.ndarray:
        return v[..., points[region], :].mean(-2)

    glabella = v[..., points["glabella"][0], :]
    occiput = v[..., points["occiput"], :]
    length = np.linalg.norm(occiput - glabella[..., None, :], axis=-1).max(-1)
    return np.stack(
        [
            breadth("cranium_sides"),
            length,
            breadth("zygomatic_arches"),
            distance("gonion_left", "gonion_right"),
            distance("frontotemporale_left", "frontotemporale_right"),
            distance("menton", "sellion"),
            distance("subnasale", "sellion"),
            breadth("nose_wings"),
            distance("subnasale", "pronasale"),
            distance("nasal_root_left", "nasal_root_right"),
            distance("cheilion_left", "cheilion_right"),
            np.linalg.norm(centre("eyeball_left") - centre("eyeball_right"), axis=-1),
        ],
        -1,
    )


def measuring_points(template: Template) -> dict[str, np.ndarray]:
    """Vertex ids of the soft-tissue points and regions that :func:`measure` reads."""
    v, mirror = template.vertices, template.mirror
    skin = template.part == "skin"

    def nearest(p: tuple[float, float, float], middle: bool = False) -> np.ndarray:
        ok = skin & ((np.abs(v[:, 0]) < 1e-6) if middle else True)
        return np.array([np.flatnonzero(ok)[np.argmin(np.linalg.norm(v[ok] - p, axis=1))]])

    out = {
        "glabella": nearest((0, 20, 24.4), True),
        "sellion": nearest((0, 3, 19.6), True),
        "subnasale": nearest((0, -45.5, 27), True),
        "pronasale": nearest((0, -34, 44), True),
        "menton": nearest((0, -115, -2), True),
        "gonion_left": nearest((59, -76, -58)),
        "frontotemporale_left": nearest((52, 27, -3)),
        "nasal_root_left": nearest((8.3, 3, 12)),
        "cheilion_left": template.loop("mouth", 0)[:1],
    }
    for name in [n for n in out if n.endswith("_left")]:
        out[name.replace("_left", "_right")] = mirror[out[name]]
    x, y, z = v.T
    out["cranium_sides"] = np.flatnonzero(skin & (y > 22) & (np.abs(x) > 55))
    out["occiput"] = np.flatnonzero(skin & (z < -120) & (y > -30))
    out["zygomatic_arches"] = np.flatnonzero(
        skin & (y > -34) & (y < 0) & (z > -66) & (z < -30) & (np.abs(x) > 45)
    )
    out["nose_wings"] = np.flatnonzero(
        skin & (y > -43) & (y < -30) & (z > 16) & (np.abs(x) > 10) & (np.abs(x) < 21)
    )
    out["eyeball_left"] = np.flatnonzero(template.part == "eyeball_left")
    out["eyeball_right"] = np.flatnonzero(template.part == "eyeball_right")
    return out
