"""Short synthetic videos with exact geometry: one person of the engine who turns, talks, or pulls faces.

Everything that a seed decides (person, skin, hair, clothes, light, background, camera) is that of
:func:`facezoo.synth.engine.render_sample`; only the head's pose and expression move. The sensor's blur,
compression and grain are the same in all frames, and an occluder may wander through.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facezoo.errors import unknown_name
from facezoo.geometry.rotations import euler_to_matrix
from facezoo.heads.params import HeadParams
from facezoo.synth import engine
from facezoo.synth.background import sample_background
from facezoo.synth.layout import stage
from facezoo.synth.lights import frontal_light, sample_lights
from facezoo.synth.occluders import composite, sample_occluder
from facezoo.synth.scene import Photographer, to_srgb
from facezoo.synth.sensor import apply_sensor
from facezoo.synth.wear import torso

KINDS = ("talk", "turn", "faces", "occluder")
_SYLLABLES = 4.5  # a second
_TURN = 0.25  # turns a second


class Video(NamedTuple):
    """Frames and their truth.

    Attributes:
        images: (T, S, S, 3) uint8 sRGB.
        vertices: (T, V, 3) metres in OpenCV camera axes, the neck as it is drawn.
        params: identity (1, n), expression (T, n_e), jaw (T, 3).
        R, t: (T, 3, 3) and (T, 3) head to camera. K: (3, 3).
        fps: frames a second.
    """

    images: NDArray[np.uint8]
    vertices: Tensor
    params: HeadParams
    R: Tensor
    t: Tensor
    K: Tensor
    fps: float


@torch.no_grad()
def render_video(
    seed: int, kind: str = "talk", frames: int = 60, size: int = 176, fps: float = 30.0
) -> Video:
    """Render a video; the same arguments give the same bytes.

    Args:
        seed: any of the engine's; tests use ``TEST_SEEDS``.
        kind: ``"talk"`` (jaw and lips at syllable rate), ``"turn"`` (yaw to ±40° and nods), ``"faces"`` (expressions one
            after the other), or ``"occluder"`` (as ``"turn"``, with something passing in front).
        frames, size, fps: length, side in pixels, and rate.

    Raises:
        UnknownNameError: no such kind.
    """
    if kind not in KINDS:
        raise unknown_name("kind of video", kind, KINDS)
    place, n = stage(), round(size * engine.SUPERSAMPLING)
    shot = engine._shoot(seed, n, (0.42, 0.5))
    expression, jaw, angles, shift = _script(seed, kind, frames, fps, place.head)
    identity = torch.from_numpy(np.asarray(shot.person.identity))[None]
    params = HeadParams(identity=identity, expression=expression, jaw=jaw)
    posed = place.head(params)
    R = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ euler_to_matrix(*angles.unbind(1)).float()
    # the head turns about its neck, which drifts a little
    neck = posed.joints[0, 1]
    nose = place.head.landmarks(posed.vertices[:1], "ibug68")[0, 27:31].mean(0)
    middle = shot.R @ nose + shot.t  # where the engine aimed: there the nose is when the head looks ahead
    pivot = middle + torch.tensor([1.0, -1.0, -1.0]) * (neck - nose)
    t = pivot + shift * float(pivot[2]) - R @ neck
    K = shot.K.clone()
    K[:2] *= size / n
    pictures, cameras = [], []
    base = None
    for i in range(frames):
        picture, camera, base = _frame(
            seed, shot, posed.vertices[i], posed.joints[i], R, t, i, n, size, kind, base
        )
        pictures.append(picture)
        cameras.append(camera)
    return Video(np.stack(pictures), torch.stack(cameras), params, R, t, K, fps)


def _frame(
    seed: int, shot: engine._Shot, vertices: Tensor, joints: Tensor, R: Tensor, t: Tensor, i: int, n: int, size: int,
    kind: str, gain: float | None,
) -> tuple[NDArray[np.uint8], Tensor, float]:  # fmt: skip
    """Draw one frame as the engine draws a picture; the exposure is that of the first."""
    place, rng = stage(), np.random.default_rng([seed, 2])
    look = engine._look(rng, shot.traits, *engine._skin(seed // engine.SHARED_SKIN))
    nod = engine._nod(rng, shot.pose) @ R[0].T @ R[i]  # the torso stays where it is
    camera = engine._bend_neck(place, vertices, joints, nod) @ R[i].T + t[i]
    placed = [
        (p, p.vertices @ R[i].T + t[i]) for p in engine._dress(rng, place, vertices, shot.traits, shot.sex)
    ]
    skin = look.albedo[place.layout.mask].mean(0)
    chest = torso(rng, (float(skin[0]), float(skin[1]), float(skin[2])))
    placed.append((chest, ((chest.vertices - joints[1]) @ nod + joints[1]) @ R[i].T + t[i]))
    rig = sample_lights(rng)
    background = torch.from_numpy(sample_background(rng, (n, n)))
    linear, depth = Photographer(rng, place, rig, look, shot.K, n).picture(background, camera, placed)
    if gain is None:
        gain = engine._exposure(np.random.default_rng([seed, 3]), linear, depth)
    image = to_srgb(linear * gain).permute(2, 0, 1)[None]
    image = functional.interpolate(image, size=(size, size), mode="bilinear", antialias=True)[0]
    picture = image.permute(1, 2, 0).numpy()
    if kind == "occluder":
        level = np.clip(frontal_light(rig), 0.05, 1.5) ** 0.45
        wander = (i % 60) / 60 * 1.6 - 0.8  # through the picture in two seconds
        box = (size * (0.3 + wander), size * 0.35, size * (0.7 + wander), size * 0.75)
        light = (float(level[0]), float(level[1]), float(level[2]))
        thing = sample_occluder(np.random.default_rng([seed, 4]), (size, size), box, light=light)
        picture = composite(picture, thing)
    picture = apply_sensor(np.random.default_rng([seed, 5]), picture)  # one camera
    return (picture * 255 + 0.5).astype(np.uint8), camera, gain


def _script(
    seed: int, kind: str, frames: int, fps: float, head: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return expression (T, n_e), jaw (T, 3), yaw-pitch-roll (T, 3) radians, and shift (T, 3) in depths."""
    rng = np.random.default_rng([seed, 6])
    specs = head.params["expression"]  # type: ignore[attr-defined]
    names, time = list(specs.names), np.arange(frames) / fps
    weights, jaw = np.zeros((frames, len(names))), np.zeros((frames, 3))

    def wave(rate: float, low: float, high: float) -> NDArray[np.float64]:
        return low + (high - low) * (0.5 + 0.5 * np.sin(2 * np.pi * rate * time + rng.uniform(0, 6.28)))

    def show(name: str, values: NDArray[np.float64]) -> None:
        for column, known in enumerate(names):
            if known in (name, name + "Left", name + "Right"):
                weights[:, column] = np.clip(values, 0, 1)

    if kind in ("talk", "occluder"):
        jaw[:, 0] = wave(_SYLLABLES, 0, 0.16) * wave(0.9, 0.2, 1)
        show("mouthFunnel", wave(_SYLLABLES / 3, 0, 0.4))
        show("mouthLowerDown", wave(_SYLLABLES / 2, 0, 0.3))
        show("browInnerUp", wave(0.5, 0, 0.5))
    if kind == "faces":
        for k, name in enumerate(
            ("mouthSmile", "browDown", "mouthPucker", "noseSneer", "browOuterUp", "cheekPuff")
        ):
            show(name, np.clip(1.5 * np.sin(2 * np.pi * (0.5 * time - k / 6)), 0, 0.9))
        jaw[:, 0] = 0.25 * np.clip(np.sin(2 * np.pi * 0.5 * time), 0, 1)
    for blink in np.arange(rng.uniform(0.5, 2.0), time[-1] + 1, 2.7):  # lids close for a quarter of a second
        close = np.clip(1.3 - np.abs(time - blink) / 0.1, 0, 1)
        show("eyeBlink", np.maximum(weights[:, names.index("eyeBlinkLeft")], close))
    far = 0.7 if kind in ("turn", "occluder") else 0.12
    yaw = far * np.sin(2 * np.pi * _TURN * time + rng.uniform(0, 6.28))
    pitch, roll = 0.3 * far * np.sin(2 * np.pi * 0.37 * time), 0.15 * far * np.sin(2 * np.pi * 0.31 * time)
    shift = 0.01 * np.stack([np.sin(1.7 * time), np.sin(1.3 * time), np.sin(0.9 * time)], 1)
    return (
        torch.from_numpy(weights).float(),
        torch.from_numpy(jaw).float(),
        torch.from_numpy(np.stack([yaw, pitch, roll], 1)),
        torch.from_numpy(shift).float(),
    )
