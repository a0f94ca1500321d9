"""A model that knows the truth: its frames carry their number in a pixel, its answers come from a script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facezoo.detect.suppress import overlaps
from facezoo.geometry import Camera, axis_angle_to_matrix
from facezoo.geometry.crop import CropSpec
from facezoo.heads import load_head
from facezoo.heads.params import HeadParams
from facezoo.models.predict import FaceModel
from facezoo.types import Face, Prediction

SIZE = (240, 320)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Sums of other lengths are shared among threads otherwise, and rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class Actor:
    """A person in a script of T frames: parameters, pose, and in which frames the face can be found."""

    params: HeadParams
    R: Tensor
    t: Tensor
    there: list[bool]


def actor(frames: int, seed: int = 0, x: float = 0.0, there: list[bool] | None = None) -> Actor:
    """Draw somebody who turns the head and talks."""
    head, g = load_head(), torch.Generator().manual_seed(seed)
    time = torch.arange(frames)[:, None] / 30
    expression = torch.zeros(frames, head.n_expression)
    names = head.params["expression"].names
    for name in ("mouthSmileLeft", "mouthSmileRight", "browInnerUp"):
        expression[:, names.index(name)] = 0.4 + 0.3 * torch.sin(5 * time[:, 0])
    jaw = torch.cat((0.12 + 0.1 * torch.sin(9 * time), 0 * time, 0 * time), 1)
    turn = torch.cat((0.1 * torch.sin(3 * time), 0.5 * torch.sin(2 * time), 0.05 * torch.sin(4 * time)), 1)
    R = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ axis_angle_to_matrix(turn)
    t = torch.cat((x + 0.02 * torch.sin(2 * time), 0.01 * time, 0.8 + 0.03 * torch.sin(time)), 1)
    identity = torch.randn(1, head.n_identity, generator=g)
    return Actor(
        HeadParams(identity=identity, expression=expression, jaw=jaw), R, t, there or [True] * frames
    )


def frame(number: int, scene: int = 0) -> np.ndarray:
    """Return frame ``number``: flat, as bright as its scene, its number in the first pixel."""
    pixels = np.full((*SIZE, 3), 40 + 150 * (scene % 2), np.uint8)
    pixels[0, 0] = (number // 256, number % 256, 7)
    return pixels


class Config:
    head = "open-v1"


class ScriptedModel(FaceModel):
    """Finds whoever the script says is there, with a pixel's share of noise that depends on frame and person only."""

    model_id = "scripted"

    def __init__(self, actors: list[Actor], points: int = 101, noise: float = 0.3) -> None:
        super().__init__(Config())
        self.head, self.noise, self.read = load_head(), noise, 0
        ids = self.head.topology.subset(points)
        k = Camera.default_K(*SIZE)
        self.truth, self.there, self.depth = [], [a.there for a in actors], [a.t[:, 2] for a in actors]
        for a in actors:
            vertices = self.head(a.params).vertices
            camera = Camera(k.expand(len(a.t), 3, 3), a.R, a.t, SIZE)
            self.truth.append(
                (camera.project(vertices[:, ids]), camera.project(self.head.landmarks(vertices, "ibug68")))
            )

    @property
    def crop(self) -> CropSpec:
        return CropSpec(size=128, scale=1.4)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def is_face(self, face: Face) -> bool:
        return float(face.confidence["dense"].mean()) > 0.5

    def predict(self, source: Any, *, boxes: Any = None, **options: Any) -> Prediction:  # type: ignore[override]
        number = int(source.pixels[0, 0, 0]) * 256 + int(source.pixels[0, 0, 1])
        self.read += boxes is None
        known = self.visible(number)
        if boxes is None:
            return Prediction(known, source.pixels)
        faces = []
        for box in boxes:
            box = torch.tensor(box)
            share = [float(overlaps(f.box[None], box[None])[0]) for f in known]
            best = max(range(len(known)), key=share.__getitem__, default=-1)
            faces.append(known[best] if best >= 0 and share[best] > 0.2 else self.nothing(box))
        return Prediction(faces, source.pixels)

    def visible(self, number: int) -> list[Face]:
        """Return the faces that nobody nearer hides."""
        there = [who for who in range(len(self.truth)) if self.there[who][number]]
        nearest_first = sorted(there, key=lambda who: float(self.depth[who][number]))
        seen: list[Face] = []
        for who in nearest_first:
            face = self.face(who, number)
            if not any(float(overlaps(face.box[None], f.box[None])[0]) > 0.25 for f in seen):
                seen.append(face)
        return seen

    def face(self, who: int, number: int) -> Face:
        points, landmarks = (part[number] for part in self.truth[who])
        g = torch.Generator().manual_seed(1000 * who + number)
        noisy = points + self.noise * torch.randn(points.shape, generator=g)
        box = torch.cat((landmarks.amin(0), landmarks.amax(0)))
        side = float(self.crop.square(box[None])[0, 2] - self.crop.square(box[None])[0, 0])
        sure = torch.full((len(points),), 1 - self.noise / side)
        return Face(box, 1.0, {"ibug68": landmarks, "dense": noisy}, {"dense": sure})

    def nothing(self, box: Tensor) -> Face:
        points = box[:2] + torch.rand(len(self.truth[0][0][0]), 2)
        return Face(box, 1.0, {"ibug68": points[:68], "dense": points}, {"dense": torch.zeros(len(points))})


class WholeFrame:
    """A detector that the scripted model does not ask."""

    name, recrops = "scripted", 0

    def detect(self, images: Any) -> list[Any]:
        raise AssertionError("the scripted model finds its faces itself")
