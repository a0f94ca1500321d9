"""Boxes given by the caller, boxes that compete, and the table of detectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facezoo.detect import DETECTORS, Detections, Detector, given_boxes, load_detector, suppress, survivors
from facezoo.detect.whole import WholeImage
from facezoo.detect.yunet import YuNetDetector, _decode, tight_from_wider, weights_path
from facezoo.errors import AssetError, InputError, UnknownNameError


@pytest.mark.parametrize(
    "boxes", [[1, 2, 30, 40], [[1.0, 2, 30, 40]], np.array([1, 2, 30, 40]), torch.tensor([[1, 2, 30, 40]])]
)
def test_any_form_of_one_box_is_the_same(boxes: object) -> None:
    found = given_boxes(boxes, (50, 50), "photo.jpg")  # type: ignore[arg-type]
    assert found.boxes.tolist() == [[1, 2, 30, 40]]
    assert found.scores.tolist() == [1]


def test_no_box_is_no_face() -> None:
    assert len(given_boxes([], (50, 50), "photo.jpg").boxes) == 0
    assert len(given_boxes(torch.zeros(0, 4), (50, 50), "photo.jpg").boxes) == 0


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([60, 10, 90, 40], "outside photo.jpg, which is 60 × 50 pixels"),
        ([-20, 10, 0, 40], "outside"),
        ([0, 50, 10, 70], "outside"),
        ([10, 10, 10, 40], "empty"),
        ([30, 10, 10, 40], "x \\+ width"),
        ([1, 2, float("nan"), 4], "NaN"),
        ([1, 2, float("inf"), 4], "infinite"),
        ([1, 2, 3], r"\(1, 3\)"),
        ([[[1, 2, 3, 4]]], r"\(1, 1, 4\)"),
        (["a", "b", "c", "d"], "must be numbers"),
        ([[1, 2, 3, 4], [1, 2]], "must be numbers"),
    ],
)
def test_an_impossible_box_is_one_sentence(boxes: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        given_boxes(boxes, (50, 60), "photo.jpg")  # type: ignore[arg-type]
    assert "photo.jpg" in str(caught.value)


def test_a_box_that_leaves_the_picture_in_part_is_fine() -> None:
    assert len(given_boxes([-10, -10, 20, 20], (50, 60), "photo.jpg").boxes) == 1


def test_the_best_of_competing_boxes_survives() -> None:
    boxes = torch.tensor(
        [
            [10.0, 10, 50, 50],  # best
            [12.0, 11, 52, 52],  # the same face
            [20.0, 20, 34, 34],  # inside it
            [0.0, 0, 100, 100],  # around it
            [60.0, 60, 90, 90],  # another face
        ]
    )
    scores = torch.tensor([5.0, 4, 3, 2, 1])
    assert survivors(Detections(boxes, scores)).tolist() == [0, 4]
    shuffled = torch.tensor([3, 1, 4, 0, 2])
    kept = suppress(Detections(boxes[shuffled], scores[shuffled]))
    assert kept.boxes.tolist() == boxes[[0, 4]].tolist()
    assert kept.scores.tolist() == [5, 1]
    assert len(suppress(Detections.none()).boxes) == 0


@pytest.mark.parametrize("name", ["auto", *DETECTORS])
def test_every_detector_of_the_table_follows_the_protocol(name: str) -> None:
    detector = load_detector(name)
    assert isinstance(detector, Detector)
    assert name in ("auto", detector.name)
    assert detector.recrops >= 0


def test_an_unknown_detector_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'cascade'"):
        load_detector("cascad")
    with pytest.raises(InputError, match="detect"):
        load_detector(object())  # type: ignore[arg-type]


def test_the_whole_image_is_one_centred_face() -> None:
    wide, tall = WholeImage().detect([np.zeros((100, 200, 3), np.uint8), np.zeros((200, 100, 3), np.uint8)])
    assert wide.boxes.tolist() == [[70, 20, 130, 80]]
    assert tall.boxes.tolist() == [[20, 70, 80, 130]]


def test_yunet_without_weights_says_where_they_go(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("FACEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(AssetError, match="open") as caught:
        YuNetDetector().detect([np.zeros((64, 64, 3), np.uint8)])
    assert str(tmp_path / "cache") in str(caught.value)


def test_yunet_runs_on_weights_of_the_right_shape_and_refuses_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    from kornia.models.yunet import YuNet

    monkeypatch.setenv("FACEZOO_CACHE", str(tmp_path))
    folder = tmp_path / "detectors"
    folder.mkdir()
    torch.manual_seed(0)
    net = YuNet("test", pretrained=False).eval()
    torch.save(net.state_dict(), folder / "yunet_final.pth")
    found = YuNetDetector(min_score=0.0).detect([np.full((90, 150, 3), 128, np.uint8)])[0]
    assert len(found.boxes) > 0  # random weights see faces everywhere
    assert bool((found.scores[:-1] >= found.scores[1:]).all())
    boxes, scores = _decode(net, torch.rand(1, 3, 64, 128) * 255)
    assert boxes.shape == (len(scores), 4)
    weights_path().write_bytes(b"no weights")
    import facezoo.detect.yunet as yunet

    yunet._network.cache_clear()
    with pytest.raises(AssetError, match="does not hold YuNet"):
        YuNetDetector().detect([np.zeros((64, 64, 3), np.uint8)])


def test_wider_boxes_shrink_to_the_tight_box_inside_them() -> None:
    tight = tight_from_wider(torch.tensor([[0.0, 0, 100, 200]]))[0]
    assert 0 < tight[0] < tight[2] < 100
    assert 20 < tight[1] < tight[3] == 200
