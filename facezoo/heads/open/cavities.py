"""Parts that are not a height over the skin's chart: eye sockets, mouth, nostrils, ears and the eyeballs, in mm."""

from __future__ import annotations

import numpy as np

from . import anatomy as an
from .layout import EAR_RING, EAR_RINGS, EYE_BAG, MOUTH_BAG, MOUTH_RING, mouth_loop
from .skin import MOUTH_HALF_WIDTH

EYE_RING_ANGLES = np.array([5, 9.5, 14, 18.5, 23, 27.2, 30, 34.5, 41, 48, 57, 67, 79, 93, 110, 130, 154.0])
EYE_SEGMENTS = 32
IRIS_ANGLE = 29.4  # degrees: an iris of 11.8 mm on an eyeball of 24 mm
CORNEA_BULGE = 1.1

# Mouth bag, ring by ring from the lips inwards: (x scale, dy upper, dy lower, z at the middle, arch depth to the corner).
# Rings 3 to 5 are the teeth: gum line, cutting edge, inner side.
MOUTH_RINGS = [
    (0.985, 0.25, -0.25, 22.0, 13.5),
    (0.93, 7.0, -7.0, 18.5, 13.5),
    (0.90, 8.0, -8.5, 17.3, 14.0),
    (0.90, -1.2, -0.6, 18.0, 14.5),
    (0.80, 5.0, -5.0, 10.0, 12.0),
    (0.70, 7.5, -1.5, -12.0, 6.0),
    (0.45, 5.0, -5.0, -34.0, 2.0),
]


def eye_bag(margin: np.ndarray, ring: int) -> np.ndarray:
    """Ring 1..EYE_BAG + 1 inside the lid margin (24, 3): margin's inner edge, then round the back of the eyeball."""
    d = margin - an.EYE_CENTRE
    unit = d / np.linalg.norm(d, axis=1, keepdims=True)
    if ring == EYE_BAG + 1:
        return (an.EYE_CENTRE + [0, 0, -an.EYE_RADIUS - 1.5])[None]
    if ring == 1:
        return an.EYE_CENTRE + unit * 12.35
    polar = np.arccos(np.clip(unit[:, 2], -1, 1))
    around = np.arctan2(unit[:, 1], unit[:, 0])
    polar = polar * (0.45, 0.12)[ring - 2] + np.radians((70.0, 125.0)[ring - 2]) * (
        1 - (0.45, 0.12)[ring - 2]
    )
    u = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)
    return an.EYE_CENTRE + u * (12.9 + 0.3 * ring)


def mouth_bag(lip_line: np.ndarray, ring: int) -> np.ndarray:
    """Ring 1..MOUTH_BAG + 1 inside the lips for the whole loop of 40 lip-line points (40, 3)."""
    if ring == MOUTH_BAG + 1:
        return np.array([[0.0, -67.0, -44.0]])
    scale, up, down, z_mid, arch = MOUTH_RINGS[ring - 1]
    xy, side = mouth_loop()
    t = np.clip(np.abs(xy[:, 0]) / MOUTH_HALF_WIDTH, 0, 1)
    middle = np.sqrt(np.clip(1 - t**2, 0, 1))
    rise = np.where(side > 0, up, down) * np.clip(1.7 * middle, 0, 1) * np.abs(side)
    out = lip_line.copy()
    out[:, 0] = lip_line[:, 0] * scale
    out[:, 1] = lip_line[:, 1] + rise
    arch_z = z_mid - arch * t**2
    if ring == 1:
        out[:, 2] = lip_line[:, 2] - 1.6
    else:
        near_lip = lip_line[:, 2] - 2.2 * ring
        out[:, 2] = np.minimum(arch_z, near_lip)
        if ring == 4:
            out[:, 2] -= np.where(side < 0, 2.2, 0.0)
    return out


# Ear, ring by ring from the canal outwards: fraction of the outline and height over the ear's plane in mm.
EAR_PROFILE = [
    (0.0, -10.0), (0.26, -9.0), (0.45, -3.5), (0.58, 0.6), (0.70, 0.0), (0.86, -0.4), (0.96, 2.4), (1.0, 0.0), (0.93, -4.2), (0.0, 0.0),
]  # fmt: skip
EAR_LENGTH, EAR_BREADTH = 62.0, 34.5


def ear_ring(ring: int, foot: np.ndarray) -> np.ndarray:
    """Ring of the left ear (22, 3), or its centre (1, 3) for ring 0; foot (22, 3) is where the ear meets the head."""
    tilt, flare = np.radians(13.0), np.radians(31.0)
    up = np.array([0.04, np.cos(tilt), -np.sin(tilt)])
    up /= np.linalg.norm(up)
    back = np.array([np.sin(flare), 0.0, -np.cos(flare)])
    back -= up * (back @ up)
    back /= np.linalg.norm(back)
    out = np.cross(up, back)
    out *= np.sign(out[0])
    hinge = np.array([69.5, -5.0, -76.0])
    centre = hinge + back * EAR_BREADTH / 2
    phi = 2 * np.pi * np.arange(EAR_RING) / EAR_RING
    c, n = np.cos(phi), np.sin(phi)
    lobe = np.clip(-n, 0, 1)
    breadth = EAR_BREADTH / 2 * (1 - 0.34 * lobe**1.5)
    outline_v, outline_u = c * breadth - 3.0 * lobe, n * EAR_LENGTH / 2
    if ring == EAR_RINGS:
        return foot
    fraction, height = EAR_PROFILE[ring]
    anterior = np.clip((-c - 0.25) / 0.6, 0, 1)  # towards the face the rim fades into the cheek
    canal = np.array([-5.0, -4.0]) * (1 - fraction)
    v = outline_v * fraction + canal[0]
    u = outline_u * fraction + canal[1]
    if ring >= 6:
        v = np.maximum(v, -EAR_BREADTH / 2 * 0.92)
    h = height * (1 - 0.75 * anterior * (ring >= 4)) - 1.2 * lobe
    h = np.where(
        (ring >= 2) & (ring <= 3), h + 2.6 * np.exp(-(((phi - np.pi * 1.08) / 0.35) ** 2)), h
    )  # tragus
    p = centre + v[:, None] * back + u[:, None] * up + h[:, None] * out
    if ring >= 7:  # the rim's front end and the back side run into the footprint
        t = (0.88 * anterior + 0.0) if ring == 7 else np.maximum(0.95 * anterior, 0.25)
        p = p * (1 - t[:, None]) + foot * t[:, None]
    return p[:1] if ring == 0 else p


def nostril(rim: np.ndarray, ring: int) -> np.ndarray:
    """Inner ring (8, 3) or pole (1, 3) of the left nostril above its rim (8, 3)."""
    middle = rim.mean(0)
    if ring == 2:
        return (middle + [0.3, 7.0, -3.0])[None]
    return middle + (rim - middle) * 0.72 + [0.1, 3.2, -1.2]


def eyeball() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The left eyeball: vertices (546, 3), faces (1088, 3), polar angles in degrees (546,)."""
    angles = np.concatenate([[0.0], np.repeat(EYE_RING_ANGLES, EYE_SEGMENTS), [180.0]])
    around = np.concatenate(
        [[0.0], np.tile(2 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS, len(EYE_RING_ANGLES)), [0.0]]
    )
    a = np.radians(angles)
    bulge = CORNEA_BULGE * np.clip(1 - (angles / IRIS_ANGLE) ** 2, 0, 1)
    unit = np.stack([np.sin(a) * np.cos(around), np.sin(a) * np.sin(around), np.cos(a)], -1)
    vertices = an.EYE_CENTRE + unit * (an.EYE_RADIUS + bulge)[:, None]
    n, faces = EYE_SEGMENTS, []
    for k in range(n):
        nxt = (k + 1) % n
        faces.append((0, 1 + k, 1 + nxt))
        for r in range(len(EYE_RING_ANGLES) - 1):
            a0, a1 = 1 + r * n, 1 + (r + 1) * n
            faces += [(a0 + k, a1 + k, a1 + nxt), (a0 + k, a1 + nxt, a0 + nxt)]
        last = 1 + (len(EYE_RING_ANGLES) - 1) * n
        faces.append((last + k, len(angles) - 1, last + nxt))
    return vertices, np.array(faces), angles


def loop_index(kind: str) -> int:
    """Index within its ring of a vertex kind like ``mouth:3:17``."""
    return int(kind.rsplit(":", 1)[1])


assert MOUTH_RING % 4 == 0
