"""Methods without doubts of their own: dense-1609 drops what a detector took for a face."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from predict_fakes import toy_model
from skimage.data import astronaut

from facezoo.data.images import ImageArray
from facezoo.detect import Detections
from facezoo.models.dense.net import DenseOutput
from facezoo.models.dense.predict import DenseLandmarks
from facezoo.models.predict import Crops
from facezoo.types import Face

FACE = torch.tensor([177.0, 72.0, 272.0, 178.0])  # the astronaut's, brows to chin
FLAG = torch.tensor([20.0, 300.0, 110.0, 390.0])


class Trusting(DenseLandmarks):
    """A network that cannot tell."""

    doubts = ""


class Finder:
    """Finds what it is told, in every picture."""

    name, recrops = "told", 1

    def __init__(self, boxes: list[torch.Tensor], certain: bool = False) -> None:
        self.boxes, self.certain = boxes, certain

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """See the protocol."""
        return [Detections(torch.stack(self.boxes), torch.tensor([0.9, 0.8][: len(self.boxes)]))] * len(
            images
        )


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Trusting:
    model = toy_model(Path(tmp_path_factory.mktemp("toy")))
    model.__class__ = Trusting
    return model


def test_finds_without_a_face_are_dropped_and_boxes_tightened(trusting: Trusting) -> None:
    loose = FACE + torch.tensor([-12.0, 8.0, 6.0, 16.0])
    both = trusting.predict([astronaut(), astronaut()], detector=Finder([FLAG, loose]), fit=False)
    for faces in both:
        assert len(faces) == 1
        assert faces[0].score == pytest.approx(0.8)
    told = trusting.predict(astronaut(), boxes=FACE.tolist(), fit=False)[0].box
    assert float((both[0][0].box - told).abs().max()) < 0.15 * float(FACE[2] - FACE[0])


class Counting(DenseLandmarks):
    """Remembers how many crops it decoded, with a fit and without."""

    decoded: ClassVar[list[tuple[bool, int]]] = []

    def decode(self, output: DenseOutput, crops: Crops, *, fit: bool = True) -> list[Face]:
        """See :class:`DenseLandmarks`."""
        self.decoded.append((fit, len(crops)))
        return super().decode(output, crops, fit=fit)


def test_doubted_finds_are_decoded_once_and_fitted_only_if_they_are_faces(tmp_path: Path) -> None:
    model = toy_model(tmp_path)
    model.__class__ = Counting
    told = model.predict(astronaut(), boxes=FACE.tolist())[0]
    sure = float(told.confidence["ibug68"].mean())
    crops = torch.stack([FLAG, FACE])
    with torch.no_grad():
        flag = model.read([astronaut()] * 2, crops, torch.zeros(2, dtype=torch.long), False)[0]
    unsure = float(flag.confidence["ibug68"].mean())
    if sure < unsure:  # the toy knows nothing of faces: what it trusts more stands for one
        crops, sure, unsure = crops.flip(0), unsure, sure
    model.info["least_confidence"] = (sure + unsure) / 2
    Counting.decoded.clear()
    with torch.no_grad():
        faces = model.read([astronaut()] * 2, crops, torch.zeros(2, dtype=torch.long), True, [True, True])
    assert Counting.decoded == [(True, 1), (False, 1)]
    assert [face.fit is not None for face in faces] == [False, True]
    assert [model.is_face(face) for face in faces] == [False, True]


def test_what_the_caller_answers_for_is_not_doubted(trusting: Trusting) -> None:
    picture = np.full((80, 80, 3), 90, np.uint8)
    told = trusting.predict(
        picture, detector=Finder([torch.tensor([20.0, 20.0, 60.0, 60.0])], True), fit=False
    )
    assert len(told) == 1
    assert (
        len(trusting.predict(picture, detector=Finder([torch.tensor([20.0, 20.0, 60.0, 60.0])]), fit=False))
        == 0
    )
    assert len(trusting.predict(picture, boxes=[20, 20, 60, 60], fit=False)) == 1
