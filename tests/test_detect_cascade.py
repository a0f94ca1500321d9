"""The offline detector on the photo that is always there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from facezoo.cli.demo_command import astronaut
from facezoo.detect.cascade import CascadeDetector, tight_from_square

# Brows to chin, temple to temple, read off the picture.
ASTRONAUT_BOX = torch.tensor([[181.0, 84, 263, 177]])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.asarray(Image.open(astronaut()).convert("RGB"))


def test_it_finds_the_astronaut_and_nobody_else(photo: np.ndarray) -> None:
    found = CascadeDetector().detect([photo])[0]
    assert len(found.boxes) == 1
    assert float(box_iou(found.boxes, ASTRONAUT_BOX)) > 0.6


def test_it_finds_her_at_other_sizes_and_in_a_batch(photo: np.ndarray) -> None:
    small = np.asarray(Image.fromarray(photo[:300, 80:380]).resize((150, 150), Image.Resampling.LANCZOS))
    large = np.asarray(Image.fromarray(photo).resize((1800, 1800), Image.Resampling.BICUBIC))
    offset = torch.tensor([80.0, 0, 80, 0])
    results = CascadeDetector().detect([small, large])
    for found, boxes in zip(results, ((ASTRONAUT_BOX - offset) / 2, ASTRONAUT_BOX * 1800 / 512), strict=True):
        assert float(box_iou(found.boxes[:1], boxes)) > 0.55


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (64, 64), (300, 200)])
def test_no_face_is_an_empty_answer(shape: tuple[int, int]) -> None:
    flat = np.full((*shape, 3), 127, np.uint8)
    found = CascadeDetector().detect([flat])[0]
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_it_is_deterministic(photo: np.ndarray) -> None:
    one, two = CascadeDetector().detect([photo])[0], CascadeDetector().detect([photo])[0]
    assert one.boxes.equal(two.boxes)
    assert one.scores.equal(two.scores)


def test_the_tight_box_moves_and_grows_with_the_square() -> None:
    box = tight_from_square(torch.tensor([[0.0, 0, 100, 100]]))
    moved = tight_from_square(torch.tensor([[10.0, 20, 210, 220]]))
    assert torch.allclose(moved, box * 2 + torch.tensor([10.0, 20, 10, 20]))
    centre = (box[0, :2] + box[0, 2:]) / 2
    assert torch.allclose(centre, torch.tensor([50.0, 62.6]), atol=0.01)
