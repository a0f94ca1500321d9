"""Crops: the affine map and the pixels agree, shrinking does not alias, borders are as documented."""

from __future__ import annotations

import json

import pytest
import torch

from facezoo.errors import InputError
from facezoo.geometry import CropSpec, apply_affine, invert_affine, tight_box, warp

F64 = torch.float64


def ramp(h: int, w: int) -> torch.Tensor:
    """An image whose red is x and green is y of the pixel's centre."""
    y, x = torch.meshgrid(torch.arange(h, dtype=F64) + 0.5, torch.arange(w, dtype=F64) + 0.5, indexing="ij")
    return torch.stack((x, y, torch.ones_like(x)))


def centres(size: int) -> torch.Tensor:
    y, x = torch.meshgrid(
        torch.arange(size, dtype=F64) + 0.5, torch.arange(size, dtype=F64) + 0.5, indexing="ij"
    )
    return torch.stack((x, y), -1).reshape(-1, 2)


@pytest.mark.parametrize("side", [9.3, 24.0, 40.7, 75.0, 130.0, 171.3])
@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_pixels_sit_where_the_affine_says(side: float, angle: float):
    spec = CropSpec(size=32, scale=1.0)
    box = torch.tensor([[200.0 - side / 2, 190.3 - side / 2, 200.0 + side / 2, 190.3 + side / 2]], dtype=F64)
    crop = spec.crop(ramp(420, 450), box, angle=angle)[0]
    # bilinear sampling and averaging are exact on a ramp
    expected = apply_affine(centres(32), invert_affine(spec.affine(box, angle))[0])
    torch.testing.assert_close(crop[:2].reshape(2, -1).T, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(crop[2], torch.ones(32, 32, dtype=F64))


def test_the_square_is_what_the_docstring_says():
    spec = CropSpec(size=64, scale=1.5, shift=(0.1, -0.2))
    box = torch.tensor([[10.0, 20.0, 50.0, 110.0]], dtype=F64)
    side = 1.5 * (40 * 90) ** 0.5
    square = spec.square(box)[0]
    torch.testing.assert_close(square[2:] - square[:2], torch.full((2,), side, dtype=F64))
    torch.testing.assert_close(
        square[:2] + side / 2, torch.tensor([30 + 0.1 * side, 65 - 0.2 * side], dtype=F64)
    )
    corners = apply_affine(square.reshape(2, 2), spec.affine(box)[0])
    torch.testing.assert_close(
        corners, torch.tensor([[0.0, 0.0], [64.0, 64.0]], dtype=F64), atol=1e-9, rtol=0
    )


def test_angle_levels_the_eye_line():
    eyes = torch.tensor([[100.0, 100.0], [140.0, 123.0]], dtype=F64)
    angle = torch.atan2(eyes[1, 1] - eyes[0, 1], eyes[1, 0] - eyes[0, 0])
    level = apply_affine(eyes, CropSpec().affine(torch.tensor([80.0, 80, 160, 170], dtype=F64), angle))
    assert float(level[0, 1]) == pytest.approx(float(level[1, 1])) and level[1, 0] > level[0, 0]


@pytest.mark.parametrize("factor", [2.0, 3.7, 8.0, 21.0])
def test_shrinking_does_not_alias(factor: float):
    size = 16
    n = int(size * factor) + 8
    checker = ((torch.arange(n)[:, None] + torch.arange(n)[None]) % 2).to(F64).expand(3, n, n)
    box = torch.tensor([[3.2, 3.4, 3.2 + size * factor, 3.4 + size * factor]], dtype=F64)
    crop = CropSpec(size=size, scale=1.0, padding="edge").crop(checker, box)
    assert float((crop - 0.5).abs().max()) < 0.13  # sampling without a filter gives 0 or 1


def test_shrinking_matches_area_averaging():
    image = torch.rand(3, 120, 120, generator=torch.Generator().manual_seed(0), dtype=F64)
    crop = CropSpec(size=30, scale=1.0).crop(image, torch.tensor([[0.0, 0.0, 120.0, 120.0]], dtype=F64))[0]
    torch.testing.assert_close(crop, torch.nn.functional.avg_pool2d(image, 4))


@pytest.mark.parametrize("side", [20.0, 90.0])
def test_padding_outside_the_image(side: float):
    image = torch.full((3, 40, 40), 0.7, dtype=F64)
    box = torch.tensor([[-side / 2, 10.0, side / 2, 10.0 + side]], dtype=F64)
    black = CropSpec(size=20, scale=1.0).crop(image, box)[0]
    assert float(black[:, :, :8].abs().max()) == 0
    assert float(black[:, 1:3, 12:16].min()) == pytest.approx(0.7)
    edge = CropSpec(size=20, scale=1.0, padding="edge").crop(image, box)[0]
    torch.testing.assert_close(edge, torch.full_like(edge, 0.7))


@pytest.mark.parametrize("offset", [-1000.0, 1000.0])
@pytest.mark.parametrize("side", [30.0, 300.0])
def test_boxes_wholly_outside(offset: float, side: float):
    box = torch.tensor([[offset, offset, offset + side, offset + side]], dtype=F64)
    image = torch.full((3, 50, 60), 0.3, dtype=F64)
    assert float(CropSpec(size=24).crop(image, box).abs().max()) == 0
    torch.testing.assert_close(
        CropSpec(size=24, padding="edge").crop(image, box), torch.full((1, 3, 24, 24), 0.3, dtype=F64)
    )


def test_one_image_many_boxes_equals_a_list_and_a_batch():
    g = torch.Generator().manual_seed(1)
    image = torch.rand(3, 200, 180, generator=g)
    corner = 100 * torch.rand(6, 2, generator=g)
    boxes = torch.cat((corner, corner + torch.tensor([[10.0], [20], [40], [60], [100], [150]])), -1)
    spec, angle = CropSpec(size=32), torch.linspace(-0.5, 0.5, 6)
    one = spec.crop(image, boxes, angle)
    torch.testing.assert_close(spec.crop([image] * 6, boxes, angle), one)
    torch.testing.assert_close(
        warp(image.expand(6, -1, -1, -1), spec.affine(boxes, angle), 32), one, atol=1e-5, rtol=0
    )
    assert spec.crop(image, boxes[:0]).shape == (0, 3, 32, 32)


def test_crops_are_differentiable():
    image = torch.rand(1, 2, 11, 9, generator=torch.Generator().manual_seed(2), dtype=F64, requires_grad=True)
    affine = CropSpec(size=4).affine(torch.tensor([[1.3, 2.0, 8.0, 9.2]], dtype=F64), 0.2)
    assert torch.autograd.gradcheck(lambda x: warp(x, affine, 4), image)


def test_normalise_round_trip():
    crops = torch.rand(2, 3, 5, 5)
    spec = CropSpec()
    torch.testing.assert_close(spec.denormalise(spec.normalise(crops)), crops)
    assert float(spec.normalise(torch.tensor(spec.mean)[None, :, None, None]).abs().max()) < 1e-6


def test_spec_survives_json():
    spec = CropSpec(size=96, scale=1.6, shift=(0.0, -0.05), padding="edge")
    assert CropSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    with pytest.raises(InputError, match="Did you mean 'scale'"):
        CropSpec.from_dict({"scal": 2})


def test_tight_box():
    torch.testing.assert_close(
        tight_box(torch.tensor([[3.0, 9.0], [1.0, 2.0]])), torch.tensor([1.0, 2.0, 3.0, 9.0])
    )


@pytest.mark.parametrize(
    "values",
    [
        {"size": 0},
        {"size": 3.5},
        {"scale": -1},
        {"padding": "mirror"},
        {"std": (0, 1, 1)},
        {"shift": (1, 2, 3)},
    ],
)
def test_bad_specs(values: dict):
    with pytest.raises(InputError):
        CropSpec(**values)


@pytest.mark.parametrize(
    "box", [[0.0, 0, 0, 5], [5.0, 5, 1, 9], [0.0, 0, float("nan"), 1], [0.0, 0, float("inf"), 1]]
)
def test_bad_boxes(box: list[float]):
    with pytest.raises(InputError, match="boxes"):
        CropSpec().affine(torch.tensor([box]))


def test_wrong_counts_and_shapes():
    with pytest.raises(InputError, match="2 images for 1 boxes"):
        CropSpec().crop([torch.zeros(3, 4, 4)] * 2, torch.tensor([[0.0, 0, 2, 2]]))
    with pytest.raises(InputError, match=r"\(B, 4\)"):
        CropSpec().crop(torch.zeros(3, 4, 4), torch.tensor([0.0, 0, 2, 2]))
    with pytest.raises(InputError, match="empty"):
        CropSpec().crop(torch.zeros(3, 0, 4), torch.tensor([[0.0, 0, 2, 2]]))
