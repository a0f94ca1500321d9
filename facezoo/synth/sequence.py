"""Short synthetic videos with exact geometry: one person of the engine who talks, turns, looks about or pulls faces.

Everything that a seed decides (person, skin, hair, clothes, light, background, camera) is that of
:func:`facezoo.synth.engine.render_sample`; what moves is in :mod:`facezoo.synth.sequence_script`: the head on its neck,
the eyes, the face. The sensor's blur, compression and grain are the same in all frames, and things may pass by in front.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facezoo.geometry.rotations import euler_to_matrix
from facezoo.heads.params import HeadParams
from facezoo.synth import engine
from facezoo.synth.background import sample_background
from facezoo.synth.layout import stage
from facezoo.synth.lights import frontal_light, sample_lights
from facezoo.synth.occluders import composite, sample_occluder
from facezoo.synth.scene import Photographer, to_srgb
from facezoo.synth.sensor import apply_sensor
from facezoo.synth.sequence_script import KINDS, write_script
from facezoo.synth.wear import torso

__all__ = ["KINDS", "Video", "render_video"]

_PASSING = ("hand", "arm", "cup", "microphone", "phone", "paper")  # things that people carry past a face
_PASS, _EVERY = 1.1, 1.8  # seconds that one takes, and from one to the next


class Video(NamedTuple):
    """Frames and their truth.

    Attributes:
        images: (T, S, S, 3) uint8 sRGB.
        vertices: (T, V, 3) metres in OpenCV camera axes, all vertices as drawn: eyes turned, neck bent.
        params: identity (1, n), expression (T, n_e), jaw, left_eye, right_eye (T, 3).
        R, t: (T, 3, 3) and (T, 3) head to camera. K: (3, 3).
        neck: (T, 3, 3) the head's rotation relative to the torso, which stands still: vertices that follow the root
            joint are turned back by it about the neck's joint.
        closed: (T,) bool, lips shut for a p, b or m.
        covered: (T,) share of the face's pixels behind something that passes.
        fps: frames a second.
    """

    images: NDArray[np.uint8]
    vertices: Tensor
    params: HeadParams
    R: Tensor
    t: Tensor
    K: Tensor
    neck: Tensor
    closed: Tensor
    covered: Tensor
    fps: float


@torch.no_grad()
def render_video(
    seed: int, kind: str = "talk", frames: int = 60, size: int = 176, fps: float = 30.0
) -> Video:
    """Render a video; the same arguments give the same bytes.

    Args:
        seed: any of the engine's; tests use ``TEST_SEEDS``.
        kind: see :func:`facezoo.synth.sequence_script.write_script`.
        frames, size, fps: length, side in pixels, and rate.

    Raises:
        UnknownNameError: no such kind.
    """
    place, n = stage(), round(size * engine.SUPERSAMPLING)
    script = write_script(seed, kind, frames, fps, place.head)
    shot = engine._shoot(seed, n, (0.42, 0.5))
    identity = torch.from_numpy(np.asarray(shot.person.identity))[None]
    params = HeadParams(
        identity=identity, expression=script.expression, jaw=script.jaw, left_eye=script.left_eye,
        right_eye=script.right_eye,
    )  # fmt: skip
    posed = place.head(params)
    R = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ euler_to_matrix(*script.angles.unbind(1)).float()
    # the head turns about its neck, which drifts a little
    joint = posed.joints[0, 1]
    nose = place.head.landmarks(posed.vertices[:1], "ibug68")[0, 27:31].mean(0)
    middle = shot.R @ nose + shot.t  # where the engine aimed: there the nose is when the head looks ahead
    pivot = middle + torch.tensor([1.0, -1.0, -1.0]) * (joint - nose)
    t = pivot + script.shift * float(pivot[2]) - R @ joint
    studio = _Studio(seed, shot, n, size, R)
    pictures, cameras, covered = [], [], []
    for i in range(frames):
        shape = posed.vertices[i], posed.joints[i]
        picture, camera, share = studio.frame(i / fps, shape, (R[i], t[i]), kind == "occluder")
        pictures.append(picture)
        cameras.append(camera)
        covered.append(share)
    K = shot.K.clone()
    K[:2] *= size / n
    return Video(
        np.stack(pictures), torch.stack(cameras), params, R, t, K, studio.neck(R), script.closed,
        torch.tensor(covered), fps,
    )  # fmt: skip


class _Studio:
    """Draws frames of one person as the engine draws a picture; the exposure is that of the first."""

    def __init__(self, seed: int, shot: engine._Shot, n: int, size: int, R: Tensor) -> None:
        self.seed, self.shot, self.n, self.size = seed, shot, n, size
        self.first, self.gain = R[0], 0.0
        rng = np.random.default_rng([seed, 2])
        self.look = engine._look(rng, shot.traits, *engine._skin(seed // engine.SHARED_SKIN))
        self.nod = engine._nod(rng, shot.pose)
        self.rng = rng
        self.state = rng.bit_generator.state

    def neck(self, R: Tensor) -> Tensor:
        """Return the head's rotation relative to the torso, which stays as it was in the first frame."""
        return self.nod @ self.first.T @ R

    def frame(
        self, time: float, shape: tuple[Tensor, Tensor], pose: tuple[Tensor, Tensor], passing: bool
    ) -> tuple[NDArray[np.uint8], Tensor, float]:
        """Return the picture, the vertices in camera axes, and how much of the face is covered.

        Args:
            time: seconds.
            shape: vertices (V, 3) and joints (5, 3) in the head's frame.
            pose: R and t of the head.
            passing: draw things that pass.
        """
        place, shot, rng, n = stage(), self.shot, self.rng, self.n
        rng.bit_generator.state = self.state  # the same hair, clothes, light and background in every frame
        vertices, joints, R, t = *shape, *pose
        nod = self.neck(R)
        camera = engine._bend_neck(place, vertices, joints, nod) @ R.T + t
        placed = [
            (p, p.vertices @ R.T + t) for p in engine._dress(rng, place, vertices, shot.traits, shot.sex)
        ]
        skin = self.look.albedo[place.layout.mask].mean(0)
        chest = torso(rng, (float(skin[0]), float(skin[1]), float(skin[2])))
        placed.append((chest, ((chest.vertices - joints[1]) @ nod + joints[1]) @ R.T + t))
        rig = sample_lights(rng)
        background = torch.from_numpy(sample_background(rng, (n, n)))
        linear, depth = Photographer(rng, place, rig, self.look, shot.K, n).picture(
            background, camera, placed
        )
        if not self.gain:
            self.gain = engine._exposure(np.random.default_rng([self.seed, 3]), linear, depth)
        image = to_srgb(linear * self.gain).permute(2, 0, 1)[None]
        side = (self.size, self.size)
        image = functional.interpolate(image, size=side, mode="bilinear", antialias=True)[0]
        picture, share = image.permute(1, 2, 0).numpy(), 0.0
        if passing:
            light = np.clip(frontal_light(rig), 0.05, 1.5) ** 0.45
            face = functional.interpolate((depth > 0).float()[None, None], size=side)[0, 0].numpy() > 0.5
            picture, share = self._pass_by(picture, face, time, light)
        picture = apply_sensor(np.random.default_rng([self.seed, 5]), picture)  # one camera
        return (picture * 255 + 0.5).astype(np.uint8), camera, share

    def _pass_by(
        self, picture: NDArray[np.float32], face: NDArray[np.bool_], time: float, light: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], float]:
        """Draw what is carried through the picture at this time; return it and the covered share of the face."""
        number, since = divmod(time, _EVERY)
        if since > _PASS:
            return picture, 0.0
        rng = np.random.default_rng([self.seed, 4, int(number)])
        kind, way = _PASSING[rng.integers(len(_PASSING))], 1 if rng.random() < 0.5 else -1
        wander = way * (2.2 * since / _PASS - 1.1)  # from beyond one edge to beyond the other
        size = self.size
        box = (size * (0.28 + wander), size * 0.3, size * (0.72 + wander), size * 0.74)
        gains = (float(light[0]), float(light[1]), float(light[2]))
        thing = sample_occluder(rng, (size, size), box, kind, light=gains)
        return composite(picture, thing), float(thing.alpha[face].mean()) if face.any() else 0.0
