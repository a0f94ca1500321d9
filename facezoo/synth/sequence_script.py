"""What a synthetic person does in a video: speech with lips that shut, glances, blinks, turns of the head, expressions."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facezoo.errors import unknown_name
from facezoo.heads.model import HeadModel

KINDS = ("talk", "turn", "faces", "gaze", "occluder")

_SYLLABLE = 0.22  # seconds
_HOLD = 0.045  # seconds, half of the time that lips stay shut in p, b and m
_TURN = 0.25  # turns of the head a second
_SACCADE = 0.05  # seconds
_DEGREE = np.pi / 180
# How the mouth stands in each sound: radians of the jaw, and blend shapes.
_SHUT = {"jaw": 0.0, "mouthPress": 0.3, "mouthRollLower": 0.15}
_TEETH = {"jaw": 0.03, "mouthRollLower": 0.5, "mouthUpperUp": 0.15}
_TONGUE = {"jaw": 0.05, "mouthLowerDown": 0.25}
_VOWELS = (
    {"jaw": 0.20, "mouthLowerDown": 0.2},
    {"jaw": 0.12, "mouthStretch": 0.35, "mouthUpperUp": 0.15},
    {"jaw": 0.11, "mouthFunnel": 0.6},
    {"jaw": 0.07, "mouthPucker": 0.6},
)
_FACES = ("mouthSmile", "browDown", "mouthPucker", "noseSneer", "browOuterUp", "cheekPuff")

Array = NDArray[np.float64]


class Script(NamedTuple):
    """T frames of one person.

    Attributes:
        expression: (T, n_e); jaw (T, 3); left_eye, right_eye (T, 3) axis-angle.
        angles: (T, 3) yaw, pitch and roll of the head, radians.
        shift: (T, 3) of the neck, in depths.
        closed: (T,) bool, lips shut for a p, b or m.
    """

    expression: Tensor
    jaw: Tensor
    left_eye: Tensor
    right_eye: Tensor
    angles: Tensor
    shift: Tensor
    closed: Tensor


def write_script(seed: int, kind: str, frames: int, fps: float, head: HeadModel) -> Script:
    """Draw what happens in a video; the same arguments give the same script.

    Args:
        seed: of the person.
        kind: ``"talk"`` (syllables, among them bilabials), ``"turn"`` (yaw to ±40° and nods), ``"faces"`` (expressions one
            after the other), ``"gaze"`` (glances that the head follows), ``"occluder"`` (as ``"turn"``, talking).
        frames, fps: length and rate.
        head: whose blend shapes are driven by their ARKit names.

    Raises:
        UnknownNameError: no such kind.
    """
    if kind not in KINDS:
        raise unknown_name("kind of video", kind, KINDS)
    rng = np.random.default_rng([seed, 6])
    time: Array = np.arange(frames) / fps
    face = _Face(head, frames)
    closed = np.zeros(frames, bool)
    if kind in ("talk", "occluder"):
        closed = _speak(face, rng, time)
        face.show("browInnerUp", 0.25 + 0.25 * np.sin(2 * np.pi * 0.5 * time + rng.uniform(0, 6.28)))
    if kind == "faces":
        for k, name in enumerate(_FACES):
            face.show(name, np.clip(1.5 * np.sin(2 * np.pi * (0.5 * time - k / len(_FACES))), 0, 0.9))
        face.jaw[:, 0] = 0.25 * np.clip(np.sin(2 * np.pi * 0.5 * time), 0, 1)
    angles = _turn(rng, kind, time)
    eyes = _look(face, rng, kind, time, angles)
    _blink(face, rng, time)
    shift = 0.01 * np.stack([np.sin(1.7 * time), np.sin(1.3 * time), np.sin(0.9 * time)], 1)

    def tensor(values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).float()

    return Script(
        tensor(face.weights), tensor(face.jaw), tensor(eyes[0]), tensor(eyes[1]), torch.from_numpy(angles),
        tensor(shift), torch.from_numpy(closed),
    )  # fmt: skip


class _Face:
    """Weights of the blend shapes over time, set by name; a name without a side sets both."""

    def __init__(self, head: HeadModel, frames: int) -> None:
        self.names = list(head.params["expression"].names)
        self.weights: Array = np.zeros((frames, len(self.names)))
        self.jaw: Array = np.zeros((frames, 3))

    def show(self, name: str, values: Array) -> None:
        for column, known in enumerate(self.names):
            if known in (name, name + "Left", name + "Right"):
                self.weights[:, column] = np.clip(values, 0, 1)

    def scale(self, prefix: str, values: Array) -> None:
        """Multiply all shapes whose names begin so."""
        for column, known in enumerate(self.names):
            if known.startswith(prefix):
                self.weights[:, column] *= values


def _speak(face: _Face, rng: np.random.Generator, time: Array) -> NDArray[np.bool_]:
    """Set jaw and lips; every syllable is a consonant and a vowel, and the mouth glides from one to the next."""
    keys: list[tuple[float, dict[str, float]]] = [(-1.0, {"jaw": 0.0})]
    shut = np.zeros(len(time), bool)
    at = rng.uniform(0.0, 0.5) * _SYLLABLE
    while at < time[-1] + 1:
        consonant = (_SHUT, _TEETH, _TONGUE)[rng.choice(3, p=(0.4, 0.2, 0.4))]
        if len(keys) < 6:
            consonant = _SHUT  # the first two, so that lips shut in short videos, too
        hold = _HOLD if consonant is _SHUT else 0.0
        keys += [(at - hold, consonant), (at + hold + 1e-3, consonant)]
        if consonant is _SHUT:
            shut |= np.abs(time - at) <= hold
        vowel, strength = _VOWELS[rng.integers(len(_VOWELS))], rng.uniform(0.5, 1.0)
        length = _SYLLABLE * rng.uniform(0.85, 1.3)
        keys.append((at + 0.55 * length, {name: strength * value for name, value in vowel.items()}))
        at += length
    names = sorted({name for _, pose in keys for name in pose})
    for name in names:
        values = _glide(time, [(when, pose.get(name, 0.0)) for when, pose in keys])
        if name == "jaw":
            face.jaw[:, 0] = values
        else:
            face.show(name, values)
    return shut


def _glide(time: Array, keys: list[tuple[float, float]]) -> Array:
    """Pass through the keys with half cosines, at rest in each."""
    out = np.full(len(time), keys[-1][1])
    for (start, a), (stop, b) in pairwise(keys):
        inside = (time >= start) & (time < stop)
        share = 0.5 - 0.5 * np.cos(np.pi * (time[inside] - start) / (stop - start))
        out[inside] = a + (b - a) * share
    return out


def _turn(rng: np.random.Generator, kind: str, time: Array) -> Array:
    """Return yaw, pitch and roll of the head, (T, 3) radians."""
    far = 0.7 if kind in ("turn", "occluder") else 0.3 if kind == "gaze" else 0.12
    yaw = far * np.sin(2 * np.pi * _TURN * time + rng.uniform(0, 6.28))
    pitch, roll = 0.3 * far * np.sin(2 * np.pi * 0.37 * time), 0.15 * far * np.sin(2 * np.pi * 0.31 * time)
    return np.stack([yaw, pitch, roll], 1)


def _look(
    face: _Face, rng: np.random.Generator, kind: str, time: Array, angles: Array
) -> tuple[Array, Array]:
    """Return rotations of both eyes (T, 3): fixations and saccades, against the head's turn; lids follow."""
    wide = 2.0 if kind == "gaze" else 1.0
    keys: list[tuple[float, Array]] = []
    at = -1.0
    while at < time[-1] + 1:
        target = np.clip(rng.normal(0, (5 * wide, 8 * wide)), (-18, -28), (18, 28)) * _DEGREE
        stay = rng.uniform(0.25, 0.9)
        keys += [(at, target), (at + stay, target)]
        at += stay + _SACCADE
    pitch, yaw = (_glide(time, [(when, float(target[k])) for when, target in keys]) for k in (0, 1))
    # eyes hold on to what they look at while the head turns
    yaw = np.clip(yaw - 0.4 * angles[:, 0], -30 * _DEGREE, 30 * _DEGREE)
    face.show("eyeLookDown", pitch / (25 * _DEGREE))
    face.show("eyeLookUp", -pitch / (25 * _DEGREE))
    vergence = abs(rng.normal(0, 1.5)) * _DEGREE
    zero = np.zeros_like(yaw)
    return np.stack([pitch, yaw - vergence, zero], 1), np.stack([pitch, yaw + vergence, zero], 1)


def _blink(face: _Face, rng: np.random.Generator, time: Array) -> None:
    """Close the lids for a quarter of a second now and then."""
    close = np.zeros_like(time)
    for blink in np.arange(rng.uniform(0.3, 2.0), time[-1] + 1, 2.7):
        close = np.maximum(close, np.clip(1.3 - np.abs(time - blink) / 0.1, 0, 1))
    face.show("eyeBlink", close)
    face.scale("eyeLook", 1 - close)
