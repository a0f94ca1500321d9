"""predict: any source, one by one or in lists, with the coordinates of the original picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from predict_fakes import CROP, picture, tight_toy_box, toy_config, toy_model

from facezoo.data.images import ImageArray
from facezoo.detect import Detections
from facezoo.errors import AssetError, ImageError, InputError, UnknownNameError
from facezoo.geometry.crop import CropSpec, apply_affine, invert_affine
from facezoo.models.dense.predict import DenseLandmarks
from facezoo.models.load import load
from facezoo.models.predict import Crops
from facezoo.types import Face, Prediction

BOX = tight_toy_box()


@dataclass(frozen=True)
class FixedDetector:
    """Says the same of every picture."""

    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...] = ()
    name: str = "fixed"
    recrops: int = 0

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        scores = self.scores or (1.0,) * len(self.boxes)
        return [Detections(torch.tensor(self.boxes).reshape(-1, 4), torch.tensor(scores))] * len(images)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DenseLandmarks:
    return toy_model(tmp_path_factory.mktemp("toy"))


def same(a: Prediction, b: Prediction, tolerance: float = 2e-3) -> bool:
    return len(a) == len(b) and all(
        torch.allclose(x.landmarks[name], y.landmarks[name], atol=tolerance)
        for x, y in zip(a, b, strict=True)
        for name in x.landmarks
    )


def test_every_source_gives_the_same_faces(model: DenseLandmarks, tmp_path: Path) -> None:
    pixels = picture()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    chw = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    sources = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(pixels),
        pixels,
        chw,
        chw.float() / 255,
    ]
    first, *rest = [model.predict(source, boxes=BOX) for source in sources]
    assert len(first) == 1
    assert all(same(first, other, 0) for other in rest)
    assert first.source == str(tmp_path / "a.png")


def test_a_face_holds_what_it_promises(model: DenseLandmarks) -> None:
    found = model.predict(picture(), boxes=BOX)
    face = found[0]
    assert isinstance(found, Prediction)
    assert isinstance(face, Face)
    assert found.detector == "given"
    assert {name: tuple(points.shape) for name, points in face.landmarks.items()} == {
        "ibug68": (68, 2), "ibug68_contour": (68, 2), "dense": (135, 2),
    }  # fmt: skip
    for name, values in face.confidence.items():
        assert values.shape == face.landmarks[name].shape[:1]
        assert 0 <= float(values.min()) <= float(values.max()) <= 1
    assert torch.equal(
        face.box, torch.cat([face.landmarks["ibug68"].amin(0), face.landmarks["ibug68"].amax(0)])
    )
    assert face.head_id == "toy"
    assert face.vertices is not None
    assert face.vertices.shape == (135, 3)
    assert face.fit is not None
    assert face.fit.converged
    assert face.score == 1
    assert "yaw" in repr(face)
    assert "1 face" in repr(found)


def test_the_camera_puts_the_mesh_on_the_landmarks(model: DenseLandmarks) -> None:
    face = model.predict(picture(300, 400), boxes=[120.0, 80, 260, 240])[0]
    assert face.camera is not None
    assert face.vertices is not None
    distance = (face.camera.project(face.vertices) - face.landmarks["dense"]).norm(dim=1)
    assert float(distance.mean()) < 0.03 * 150  # the toy face is a mean of many, which no head is exactly
    assert face.camera.image_size == (300, 400)
    assert float(face.camera.to_camera(face.vertices)[:, 2].min()) > 0


def test_without_a_fit_the_network_places_the_head(model: DenseLandmarks) -> None:
    face = model.predict(picture(), boxes=BOX, fit=False)[0]
    fitted = model.predict(picture(), boxes=BOX)[0]
    assert face.fit is None
    assert face.vertices is not None
    assert face.camera is not None
    assert torch.equal(face.landmarks["dense"], fitted.landmarks["dense"])
    box = face.camera.project(face.vertices)
    assert float((box.mean(0) - face.landmarks["dense"].mean(0)).norm()) < 4


def test_shifting_the_picture_shifts_the_face(model: DenseLandmarks) -> None:
    pixels = picture(90, 110)
    canvas = np.zeros((200, 220, 3), np.uint8)
    canvas[40:130, 70:180] = pixels
    box = torch.tensor([40.0, 30, 70, 65])
    here = model.predict(pixels, boxes=box, fit=False)[0]
    there = model.predict(canvas, boxes=box + torch.tensor([70.0, 40, 70, 40]), fit=False)[0]
    for name, points in here.landmarks.items():
        assert torch.allclose(points + torch.tensor([70.0, 40]), there.landmarks[name], atol=1e-3)


def test_exif_orientation_turns_picture_and_coordinates_together(
    model: DenseLandmarks, tmp_path: Path
) -> None:
    pixels = picture(80, 120)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels, 1))).save(tmp_path / "turned.png", exif=exif)
    upright, turned = model.predict(pixels, boxes=BOX), model.predict(tmp_path / "turned.png", boxes=BOX)
    assert turned.image.shape == (80, 120, 3)
    assert same(upright, turned, 0)


def test_a_list_equals_one_by_one(model: DenseLandmarks) -> None:
    pictures = [picture(60 + 20 * i, 100 - 10 * i, i) for i in range(5)]
    boxes = [[20.0, 15, 45, 42], None, [[10.0, 10, 40, 45], [30.0, 20, 70, 66]], [], [5.0, 5, 30, 30]]
    finder = FixedDetector(((15.0, 12, 50, 44),), recrops=2)
    together = model.predict(pictures, boxes=boxes, detector=finder, batch_size=3)
    assert isinstance(together, list)
    assert [len(found) for found in together] == [1, 1, 2, 0, 1]
    for pixels, box, found in zip(pictures, boxes, together, strict=True):
        alone = model.predict(pixels, boxes=box, detector=finder)
        assert same(found, alone)
        assert found.detector == alone.detector == ("fixed" if box is None else "given")
    assert model.predict([]) == []
    assert isinstance(model.predict([pictures[0]], boxes=[BOX]), list)


def test_no_face_is_an_empty_prediction(model: DenseLandmarks) -> None:
    found = model.predict(np.full((120, 90, 3), 128, np.uint8))
    assert len(found) == 0
    assert list(found) == []
    assert found.overlay().size == (90, 120)
    assert found._repr_png_().startswith(b"\x89PNG")
    assert found.to_dict()["faces"] == []
    with pytest.raises(IndexError, match="0 faces found"):
        found[0]


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (9, 9)])
def test_tiny_pictures_are_no_problem(model: DenseLandmarks, shape: tuple[int, int]) -> None:
    assert isinstance(model.predict(np.zeros((*shape, 3), np.uint8)), Prediction)
    found = model.predict(np.zeros((*shape, 3), np.uint8), detector="whole")
    assert all(torch.isfinite(face.box).all() for face in found)


def test_a_huge_picture_costs_its_face(model: DenseLandmarks) -> None:
    huge = np.zeros((4000, 6000, 3), np.uint8)
    huge[1000:1096, 2000:2096] = picture()
    box = torch.tensor(BOX)
    here = model.predict(picture(), boxes=box, fit=False)[0].landmarks["ibug68"]
    there = model.predict(huge, boxes=box + torch.tensor([2000.0, 1000, 2000, 1000]), fit=False)[0].landmarks[
        "ibug68"
    ]
    # the crop reaches a little beyond the small picture: what lies there differs
    assert torch.allclose(here + torch.tensor([2000.0, 1000]), there, atol=0.5)


def test_scores_order_faces_and_twins_are_merged(model: DenseLandmarks) -> None:
    boxes = ((60.0, 60, 90, 96), (10.0, 10, 40, 46), (11.0, 11, 40, 46))
    found = model.predict(picture(128, 128), detector=FixedDetector(boxes, (0.5, 0.7, 0.9)), fit=False)
    assert [round(face.score, 3) for face in found] == [0.9, 0.5]
    given = model.predict(picture(128, 128), boxes=boxes, fit=False)
    assert len(given) == 3  # what the caller asks for is not second-guessed


def test_what_the_network_doubts_is_no_face(tmp_path: Path) -> None:
    model = toy_model(tmp_path)
    finder = FixedDetector((tuple(BOX),))
    sure = float(model.predict(picture(), detector=finder)[0].confidence["ibug68"].mean())
    model.info["least_confidence"] = sure - 0.01
    assert len(model.predict(picture(), detector=finder)) == 1
    model.info["least_confidence"] = sure + 0.01
    assert len(model.predict(picture(), detector=finder)) == 0
    assert len(model.predict(picture(), boxes=BOX)) == 1  # what the caller points at is a face
    model.save_pretrained(tmp_path / "weights")
    assert len(load(tmp_path / "weights", device="cpu").predict(picture(), detector=finder)) == 0


def test_cropping_anew_moves_the_box_to_the_landmarks(model: DenseLandmarks) -> None:
    start = (20.0, 20.0, 80, 84)
    once = model.predict(picture(), detector=FixedDetector((start,)), fit=False)[0]
    again = model.predict(picture(), detector=FixedDetector((start,), recrops=1), fit=False)[0]
    by_hand = model.predict(picture(), boxes=once.box, fit=False)[0]
    assert torch.allclose(again.landmarks["dense"], by_hand.landmarks["dense"], atol=1e-3)
    assert not torch.allclose(again.landmarks["dense"], once.landmarks["dense"], atol=0.05)


def test_training_and_prediction_crop_alike() -> None:
    spec = CropSpec(size=CROP, padding="edge")
    pixels = picture(150, 170)
    boxes = torch.tensor([[30.0, 40, 80, 99], [-10, -5, 60, 70], [140, 120, 200, 190], [20, 20, 150, 140]])
    cut = Crops.cut(spec, [pixels] * 4, boxes)
    whole = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)
    assert torch.allclose(cut.pixels, spec.crop(whole, boxes), atol=1e-5)
    assert torch.equal(cut.affine, spec.affine(boxes))
    corners = apply_affine(
        torch.tensor([[[0.0, 0], [CROP, CROP]]]).expand(4, 2, 2), invert_affine(cut.affine)
    )
    assert torch.allclose(corners.flatten(1), spec.square(boxes), atol=1e-3)


def test_the_same_call_gives_the_same_bits(model: DenseLandmarks) -> None:
    one, two = (model.predict(picture(), boxes=BOX)[0] for _ in range(2))
    assert torch.equal(one.landmarks["dense"], two.landmarks["dense"])
    assert one.vertices is not None
    assert two.vertices is not None
    assert torch.equal(one.vertices, two.vertices)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_faces(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    here = toy_model(tmp_path).predict(picture(), boxes=BOX)[0]
    there = toy_model(tmp_path).to("cuda").predict(picture(), boxes=BOX)[0]
    assert here.vertices is not None
    assert there.vertices is not None
    assert torch.allclose(here.landmarks["dense"], there.landmarks["dense"], atol=0.05)
    assert torch.allclose(here.vertices, there.vertices, atol=1e-3)


def test_nothing_is_left_in_the_autograd_graph(model: DenseLandmarks) -> None:
    model.train()
    face = model.predict(picture(), boxes=BOX)[0]
    assert not model.training
    assert not face.landmarks["dense"].requires_grad
    assert not face.landmarks["dense"].is_inference()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "nowhere.jpg"}, ImageError, "nowhere.jpg"),
        ({"source": ["nowhere.jpg"]}, ImageError, "nowhere.jpg"),
        ({"source": torch.full((3, 8, 8), float("nan"))}, InputError, "NaN"),
        (
            {"source": [picture(), torch.full((3, 8, 8), float("nan"))], "boxes": [BOX, BOX]},
            InputError,
            "picture 1 of",
        ),
        ({"source": None}, InputError, "NoneType"),
        ({"source": picture(), "boxes": [200, 200, 220, 220]}, InputError, "outside array, which is 96 × 96"),
        ({"source": picture(), "boxes": [1, 2, 3]}, InputError, "shape"),
        ({"source": [picture()], "boxes": [BOX, BOX]}, InputError, "2 pictures but 1|2 pictures"),
        ({"source": picture(), "detector": "retina"}, UnknownNameError, "retina"),
        ({"source": picture(), "detector": 3}, InputError, "int"),
        ({"source": picture(), "boxes": BOX, "batch_size": 0}, InputError, "batch_size"),
    ],
)
def test_bad_input_is_one_sentence(model: DenseLandmarks, arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        model.predict(**arguments)
    assert "\n" not in str(caught.value)


def test_a_head_of_another_topology_is_refused(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    config.points, config.n_identity = 136, 9
    with pytest.raises(AssetError, match=r"identity components 3 < 9, no subset of 136"):
        DenseLandmarks(config).predict(picture(), boxes=BOX)
