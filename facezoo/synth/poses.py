"""How the head is seen: head rotation, distance, lens, and where the crop lies in the photograph.

Perspective is set by the distance alone, so the distance is drawn first (selfie to tele) and the focal length in
pixels of the crop follows from the wanted face size. The photograph around the crop is drawn too: it fixes the
principal point, because a face at the picture's edge is seen obliquely. AFLW2000-3D has 65 / 20 / 15 % of its yaws in
0–30 / 30–60 / 60–90° (open_head_facts §5); the wide ones are harder to learn, so they are drawn more often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facezoo.errors import InputError
from facezoo.geometry.rotations import euler_to_matrix

YAW_SHARES = (0.55, 0.23, 0.22)
"""Chance that |yaw| lies in 0–30, 30–60, 60–90 degrees."""


@dataclass(frozen=True)
class Pose:
    """One camera and one head; float64 arrays, lengths in metres and pixels of the crop.

    Attributes:
        R: (3, 3) head to camera, OpenCV axes; frontal = diag(1, -1, -1).
        t: (3,) head to camera.
        K: (3, 3) intrinsics of the crop. The principal point is the photograph's centre, mostly outside the crop.
        size: (height, width) of the crop.
        photo_size: (height, width) of the whole photograph, in pixels of the crop's scale.
        photo_origin: (x, y) of the photograph's upper left corner in the crop.
        yaw, pitch, roll: radians, the project's Euler angles of R (see ``geometry.rotations.matrix_to_euler``).
        distance: camera to face centre, metres.
    """

    R: NDArray[np.float64]
    t: NDArray[np.float64]
    K: NDArray[np.float64]
    size: tuple[int, int]
    photo_size: tuple[float, float]
    photo_origin: tuple[float, float]
    yaw: float
    pitch: float
    roll: float
    distance: float


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def sample_angles(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw yaw, pitch and roll.

    Args:
        rng: the only source of randomness.

    Returns:
        Radians. |yaw| in [0, 90°] by ``YAW_SHARES``; pitch mostly within ±20°, one in seven anywhere in ±60°; roll
        mostly within ±15°, one in twelve anywhere in ±50°. Extreme pitch and roll are damped at large yaw, where
        they would look away from the camera altogether.
    """
    bin_ = int(rng.choice(3, p=YAW_SHARES))
    if bin_ == 0:
        yaw = abs(rng.normal(0, 15))
        while yaw >= 30:
            yaw = abs(rng.normal(0, 15))
    else:
        yaw = rng.uniform(30, 60) if bin_ == 1 else rng.uniform(60, 90)
    yaw *= 1 if rng.random() < 0.5 else -1
    pitch = rng.uniform(-60, 60) if rng.random() < 0.15 else rng.normal(-1, 11)
    roll = rng.uniform(-50, 50) if rng.random() < 0.08 else rng.normal(0, 8)
    damp = 1 - 0.5 * (abs(yaw) / 90) ** 2
    radians = np.radians([yaw, pitch * damp, roll * damp])
    return float(radians[0]), float(radians[1]), float(radians[2])


def sample_pose(
    rng: np.random.Generator,
    size: tuple[int, int] = (192, 192),
    *,
    centre: tuple[float, float, float],
    fill: tuple[float, float] = (0.5, 0.72),
    jitter: float = 0.06,
    face_extent: float = 0.14,
    angles: tuple[float, float, float] | None = None,
    distance: float | None = None,
) -> Pose:
    """Draw a camera for one crop.

    Args:
        rng: the only source of randomness.
        size: (height, width) of the crop in pixels.
        centre: point of the head frame to aim at, metres; the middle between nose tip and bridge suits face crops.
        fill: range of the face's share of the crop's shorter side.
        jitter: standard deviation of the face centre around the crop's centre, share of the shorter side.
        face_extent: metres that ``fill`` refers to; 0.14 is brow-to-chin height and cheek-to-cheek width.
        angles: yaw, pitch, roll in radians; None draws them.
        distance: metres; None draws it log-uniform from 0.3 to 3.

    Returns:
        The pose. It always projects ``centre`` inside the crop.

    Raises:
        InputError: a size, range or distance is not positive.
    """
    if min(size) < 1 or not 0 < fill[0] <= fill[1] or not face_extent > 0:
        raise InputError(f"size, fill and face_extent must be positive, got {size}, {fill}, {face_extent}.")
    if distance is None:
        distance = _log(rng, 0.3, 3.0)
    if not distance > 0.2:
        raise InputError(f"distance must exceed 0.2 m, or the camera is inside the head; got {distance}.")
    yaw, pitch, roll = sample_angles(rng) if angles is None else angles
    h, w = size
    short = min(size)
    face = short * rng.uniform(*fill)
    focal = face * distance / face_extent
    # The photograph: its diagonal follows from a lens of 0.6–3 diagonals; it must be able to hold the face.
    diagonal = max(focal / _log(rng, 0.6, 3.0), 1.6 * face)
    aspect = float(rng.choice([3 / 4, 2 / 3, 9 / 16, 1.0, 4 / 3, 3 / 2, 16 / 9]))
    photo_h = diagonal / np.hypot(1, aspect)
    photo_w = photo_h * aspect
    # Photographers put faces near the middle; a uniform draw over the frame is the other extreme.
    room = np.maximum(np.array([photo_w, photo_h]) - face, 0) / 2
    offset = np.clip(rng.normal(0, 0.5, 2), -1, 1) * room
    aim = np.array([w, h]) / 2 + np.clip(rng.normal(0, jitter, 2), -0.35, 0.35) * short
    principal = aim - offset
    K = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1.0]])
    ray = np.array([offset[0] / focal, offset[1] / focal, 1.0])
    ray /= np.linalg.norm(ray)
    upright = euler_to_matrix(*torch.tensor([yaw, pitch, roll], dtype=torch.float64)).numpy()
    R = np.diag([1.0, -1.0, -1.0]) @ upright
    t = distance * ray - R @ np.asarray(centre)
    origin = principal - np.array([photo_w, photo_h]) / 2
    return Pose(
        R,
        t,
        K,
        (h, w),
        (float(photo_h), float(photo_w)),
        (float(origin[0]), float(origin[1])),
        yaw,
        pitch,
        roll,
        distance,
    )
