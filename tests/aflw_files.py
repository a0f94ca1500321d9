"""Small data sets of the formats of AFLW2000-3D, 300W-LP and 3DDFA's packing, about a face model of 80 vertices."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

VERTICES = 80
SIZE = 450


@dataclass
class Truth:
    """One picture's labels: what its .mat file says, and the points that follow from it."""

    name: str
    pose: np.ndarray
    shape: np.ndarray
    expression: np.ndarray
    points: np.ndarray


def face_model(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a small model in micrometres with the arrays that SynergyNet's 3dmm_data has."""
    direction = rng.normal(size=(VERTICES, 3))
    direction[:, 2] = np.abs(direction[:, 2]) * 0.6
    place = 8e4 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    ids = rng.permutation(VERTICES)[:68]
    faces = np.stack(
        [np.arange(VERTICES), (np.arange(VERTICES) + 1) % VERTICES, (np.arange(VERTICES) + 5) % VERTICES], 1
    )
    return {
        "u_shp": place.reshape(-1, 1).astype(np.float32),
        "u_exp": np.zeros((3 * VERTICES, 1), np.float32),
        "w_shp_sim": rng.normal(size=(3 * VERTICES, 40)).astype(np.float32) * 0.02,
        "w_exp_sim": rng.normal(size=(3 * VERTICES, 10)).astype(np.float32) * 1e3,
        "keypoints_sim": (3 * ids[:, None] + np.arange(3)).ravel().astype(np.int64),
        "tri": (faces + 1).T.astype(np.float64),
    }


def write_face_model(folder: Path, model: dict[str, np.ndarray]) -> None:
    """Write the files of 3dmm_data."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in model.items():
        if name != "tri":
            np.save(folder / f"{name}.npy", value)
    savemat(folder / "tri.mat", {"tri": model["tri"]})
    mean, std = whitening()
    (folder / "param_whitening.pkl").write_bytes(pickle.dumps({"param_mean": mean, "param_std": std}, 2))


def whitening() -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (62,) of the order of the real ones."""
    mean = np.zeros(62, np.float32)
    mean[[0, 5, 10]], mean[[3, 7]] = 4e-4, 60
    std = np.full(62, 2e-4, np.float32)
    std[[3, 7, 11]], std[12:52], std[52:] = 10, np.linspace(5e5, 1e4, 40), np.linspace(1.6, 0.2, 10)
    return mean, std


def project(
    model: dict[str, np.ndarray], pose: np.ndarray, shape: np.ndarray, expression: np.ndarray, height: int
) -> np.ndarray:
    """Return the 68 points (3, 68) by the formula of the files: V = f Rx Ry Rz S + t, y = H + 1 - V_y."""
    vertices = (
        model["u_shp"] + model["w_shp_sim"] @ shape[:40, None] + model["w_exp_sim"] @ expression[:10, None]
    )
    S = vertices.reshape(-1, 3)[model["keypoints_sim"][::3] // 3].T
    (sp, cp), (sy, cy), (sr, cr) = ((np.sin(a), np.cos(a)) for a in pose[:3])
    rx = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    ry = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    rz = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    moved = pose[6] * rx @ ry @ rz @ S + pose[3:6, None]
    moved[1] = height + 1 - moved[1]
    return moved


def write_pictures(
    folder: Path,
    model: dict[str, np.ndarray],
    angles: list[tuple[float, float, float]],
    *,
    points: bool = True,
) -> list[Truth]:
    """Write .jpg and .mat files; ``angles`` are pitch, yaw, roll in degrees; ``points=False``: as 300W-LP."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    out = []
    for i, triple in enumerate(angles):
        pose = np.array([*np.radians(triple), 220 + 5 * i, 240 - 4 * i, -60, 1.1e-3])
        shape, expression = np.zeros(199), np.zeros(29)
        _, std = whitening()
        shape[:40], expression[:10] = (
            rng.normal(size=40) * std[12:52] * 0.3,
            rng.normal(size=10) * std[52:] * 0.3,
        )
        projected = project(model, pose, shape, expression, SIZE)
        name = f"image{i:05d}"
        table = {
            "Pose_Para": pose[None].astype(np.float32), "Shape_Para": shape[:, None], "Exp_Para": expression[:, None],
            "Tex_Para": np.zeros((199, 1)), "Illum_Para": np.zeros((1, 10)), "Color_Para": np.zeros((1, 7), np.float32),
            "roi": np.array([[1, 1, SIZE, SIZE]], np.int16),
        }  # fmt: skip
        if points:
            table |= {"pt3d_68": projected.astype(np.float32), "pt2d": np.full((2, 21), -1.0)}
        else:
            table |= {"pt2d": projected[:2].astype(np.float32)}
        savemat(folder / f"{name}.mat", table)
        picture = rng.integers(0, 255, (30, 30, 3)).astype(np.uint8)
        Image.fromarray(picture).resize((SIZE, SIZE)).save(folder / f"{name}.jpg")
        out.append(Truth(name, pose, shape, expression, projected))
    return out
