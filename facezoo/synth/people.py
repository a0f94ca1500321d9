"""Draw a person: who it is, what the face does, where it looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facezoo.heads import HeadModel, HeadParams

# Joint activations that real faces show; values are peak weights.
_PRESETS: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.9, "cheekSquint": 0.6, "eyeSquint": 0.3},
    {"mouthSmile": 1.1, "cheekSquint": 0.8, "jawOpen": 0.28, "mouthUpperUp": 0.35, "eyeSquint": 0.4},
    {"mouthSmile": 0.8, "jawOpen": 0.55, "mouthUpperUp": 0.4, "browOuterUp": 0.4, "cheekSquint": 0.5},
    {"mouthSmile": 0.7, "mouthUpperUp": 0.5, "mouthLowerDown": 0.3, "mouthStretch": 0.3},
    {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.8, "jawOpen": 0.5},
    {"browDown": 0.9, "eyeSquint": 0.5, "mouthPress": 0.7, "noseSneer": 0.3},
    {"browDown": 0.8, "noseSneer": 0.8, "mouthUpperUp": 0.7, "jawOpen": 0.25, "mouthLowerDown": 0.5},
    {"browInnerUp": 0.8, "mouthFrown": 0.9, "mouthShrugLower": 0.6},
    {"jawOpen": 1.0, "mouthStretch": 0.4, "eyeSquint": 0.5},
    {"jawOpen": 0.35, "mouthFunnel": 0.8},
    {"mouthPucker": 1.0},
    {"jawOpen": 0.4}, {"jawOpen": 0.18, "mouthLowerDown": 0.4}, {"mouthPress": 0.8}, {"mouthRollLower": 0.7, "mouthRollUpper": 0.6},
    {"eyeBlink": 1.0}, {"eyeBlink": 0.5}, {"cheekPuff": 0.9},
    {"noseSneer": 0.9, "eyeSquint": 0.6, "mouthUpperUp": 0.6}, {"jawOpen": 0.3, "mouthClose": 0.3}, {"jawOpen": 0.45, "tongueOut": 0.9},
)  # fmt: skip

_UPPER_FACE: tuple[dict[str, float], ...] = (
    {"browInnerUp": 1.0, "browOuterUp": 1.0}, {"browInnerUp": 0.6, "browOuterUp": 0.9, "eyeWide": 0.5},
    {"browDown": 1.0}, {"browDown": 0.7, "eyeSquint": 0.8}, {"eyeSquint": 1.0, "cheekSquint": 0.9},
    {"noseSneer": 0.9, "browDown": 0.4},
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """One draw of the head's parameters.

    Attributes:
        sex: "male" or "female"; identity (n_id,), expression (n_exp,); jaw, left_eye, right_eye (3,) axis-angle.
    """

    sex: str
    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    jaw: NDArray[np.float32]
    left_eye: NDArray[np.float32]
    right_eye: NDArray[np.float32]

    def params(self) -> HeadParams:
        """As a batch of one."""

        def row(x: NDArray) -> torch.Tensor:
            return torch.from_numpy(np.asarray(x, np.float32))[None]

        return HeadParams(
            identity=row(self.identity), expression=row(self.expression), jaw=row(self.jaw),
            left_eye=row(self.left_eye), right_eye=row(self.right_eye),
        )  # fmt: skip


def sample_identity(
    rng: np.random.Generator, head: HeadModel, sex: str, spread: float = 1.0
) -> NDArray[np.float32]:
    """Draw identity coefficients (n_id,) of one sex from the head's calibrated population."""
    row = ("male", "female").index(sex)
    mean, chol = head.extra["sex_mean"][row], head.extra["sex_chol"][row].astype(np.float32)
    z = np.clip(rng.standard_normal(len(mean)), -2.8, 2.8).astype(np.float32)
    return (mean + spread * (chol @ z)).astype(np.float32)


def sample_expression(
    rng: np.random.Generator, head: HeadModel, lively: bool = False
) -> tuple[dict[str, float], float]:
    """Draw blend-shape weights by ARKit name and how far the jaw opens (0..1).

    Lively faces rest less often, and brows and eyes move as much as mouths do.
    """
    names = head.params["expression"].names
    weights = dict.fromkeys(names, 0.0)
    jaw = 0.0
    style = rng.random()
    if style > 0.12:  # every face moves a little
        for n in names:
            if rng.random() < 0.25:
                weights[n] += abs(rng.normal(0, 0.16))
    if style > (0.12 if lively else 0.30):
        count = 1 + (rng.random() < 0.35)
        for k in range(count + (lively and rng.random() < 0.6)):
            pool = _PRESETS if k < count else _UPPER_FACE
            preset = pool[rng.integers(len(pool))]
            gain = rng.beta(2.2, 1.6) * 1.25
            lopsided = rng.normal(0, 0.45) if rng.random() < 0.25 else rng.normal(0, 0.07)
            for key, value in preset.items():
                if key == "jawOpen":
                    jaw += gain * value
                elif key in weights:
                    weights[key] += gain * value
                else:
                    weights[key + "Left"] += gain * value * np.clip(1 + lopsided, 0, 1.6)
                    weights[key + "Right"] += gain * value * np.clip(1 - lopsided, 0, 1.6)
    if style > 0.85:  # anything at once
        for n in rng.choice(len(names), 6, replace=False):
            weights[names[n]] += rng.uniform(0, 0.8)
    if rng.random() < 0.2:
        jaw += rng.exponential(0.15)
    for side in ("Left", "Right"):  # opposite movers do not add up
        blink = weights[f"eyeBlink{side}"]
        weights[f"eyeWide{side}"] *= max(0.0, 1 - 2 * blink)
        weights[f"eyeSquint{side}"] *= max(0.0, 1 - blink)
        weights[f"eyeLookDown{side}"] = 0.0
        weights[f"eyeLookUp{side}"] = 0.0
    limit = {"mouthClose": 0.8 * jaw, "tongueOut": 1.0 if jaw > 0.25 else 0.0}
    return {n: float(np.clip(w, 0, limit.get(n, 1.0))) for n, w in weights.items()}, float(
        np.clip(jaw, 0, 1.0)
    )


def sample_person(
    rng: np.random.Generator, head: HeadModel, sex: str, identity: NDArray[np.float32] | None = None
) -> Person:
    """Draw one person, or one look of the person that ``identity`` gives; lids follow the gaze as they do in life."""
    lively = identity is not None
    if identity is None:
        identity = sample_identity(rng, head, sex, spread=rng.uniform(0.7, 1.12))
    weights, opening = sample_expression(rng, head, lively)
    pitch, yaw = np.clip(rng.normal(0, 8), -24, 22), np.clip(rng.normal(0, 12), -34, 34)
    vergence = abs(rng.normal(0, 1.5))
    for side in ("Left", "Right"):
        free = 1 - weights[f"eyeBlink{side}"]
        weights[f"eyeLookDown{side}"] = float(np.clip(pitch / 25, 0, 1) * free)  # positive pitch looks down
        weights[f"eyeLookUp{side}"] = float(np.clip(-pitch / 25, 0, 1) * free)
    jaw_sideways = rng.normal(0, 1.2) if rng.random() < 0.3 else 0.0
    degrees = np.pi / 180
    return Person(
        sex,
        identity,
        np.array([weights[n] for n in head.params["expression"].names], np.float32),
        np.array([opening * 24 * degrees, jaw_sideways * degrees, 0], np.float32),
        np.array([pitch * degrees, (yaw - vergence) * degrees, 0], np.float32),
        np.array([pitch * degrees, (yaw + vergence) * degrees, 0], np.float32),
    )
