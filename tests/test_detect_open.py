"""The detector trained on synthetic people: targets, loss, decoding, training, and what the embedded weights find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from facezoo.detect.base import Detections
from facezoo.detect.open_faces import detector as module
from facezoo.detect.open_faces.net import STRIDE, FaceMap, FaceNet, decode
from facezoo.detect.open_faces.patterns import sample_pattern
from facezoo.detect.open_faces.scenes import Scenes, backgrounds, cut, sample_scenes
from facezoo.detect.open_faces.train import loss, train
from facezoo.detect.suppress import overlaps
from facezoo.errors import AssetError


def _people(count: int = 6, size: int = 64) -> dict[str, Tensor]:
    """Pictures with a bright square where the 68 points are."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 60, (count, 3, size, size), dtype=np.uint8))
    images[:, :, 16:48, 20:44] = 230
    points = torch.from_numpy(rng.uniform([20, 16], [44, 48], (count, 68, 2)).astype(np.float32))
    points[:, 0], points[:, 1] = torch.tensor([20.0, 16.0]), torch.tensor([44.0, 48.0])
    return {"images": images, "lm68": points}


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return sample_scenes(np.random.default_rng(3), _people(), backgrounds(4, 64, 0), 6, 128)


def test_cells_tile_the_canvas() -> None:
    for seed in range(20):
        covered = np.zeros((128, 128), int)
        for x0, y0, x1, y1 in cut(np.random.default_rng(seed), (0, 0, 128, 128), 5):
            covered[y0:y1, x0:x1] += 1
        assert (covered == 1).all()


def test_scenes_are_the_seed(scenes: Scenes) -> None:
    again = sample_scenes(np.random.default_rng(3), _people(), backgrounds(4, 64, 0), 6, 128)
    assert all(torch.equal(a, b) for a, b in zip(scenes, again, strict=True))


def test_patterns_are_the_seed_and_differ() -> None:
    drawn = [np.asarray(sample_pattern(np.random.default_rng(seed), 48)) for seed in range(24)]
    again = np.asarray(sample_pattern(np.random.default_rng(7), 48))
    assert np.array_equal(again, drawn[7])
    assert all(picture.shape == (48, 48, 3) for picture in drawn)
    assert len({picture.tobytes() for picture in drawn}) == 24
    assert np.mean([picture.std() for picture in drawn]) > 20


def test_targets_decode_to_boxes_around_the_bright_squares(scenes: Scenes) -> None:
    exact = FaceMap(torch.where(scenes.heat == 1, 30.0, -30.0), scenes.boxes)
    total = 0
    for image, (boxes, scores) in zip(scenes.images, decode(exact, 0.5), strict=True):
        total += len(boxes)
        assert (scores > 0.99).all()
        for x0, y0, x1, y1 in boxes.round().int().tolist():
            inside = image[:, max(y0, 0) : y1, max(x0, 0) : x1]
            assert inside.numel() == 0 or float(inside.mean()) > float(image.mean()) - 0.15
    assert total > 5


def test_the_truth_has_the_least_loss(scenes: Scenes) -> None:
    exact = FaceMap(torch.where(scenes.heat == 1, 12.0, -12.0), scenes.boxes)
    heat, box = loss(exact, scenes)
    assert float(box) == 0
    assert float(heat) < 0.01
    worse, shifted = loss(FaceMap(-exact.logits, scenes.boxes + 0.5), scenes)
    assert float(worse) > 10
    assert float(shifted) == pytest.approx(2.0, abs=1e-4)


def test_boxes_follow_the_cells() -> None:
    logits = torch.full((1, 8, 8), -9.0)
    logits[0, 2, 5] = 9.0
    boxes = torch.zeros(1, 4, 8, 8)
    boxes[0, :, 2, 5] = torch.tensor([0.25, -0.5, np.log(3.0), np.log(2.0)])
    found, scores = decode(FaceMap(logits, boxes), 0.4)[0]
    centre, extent = torch.tensor([5.75, 2.0]) * STRIDE, torch.tensor([3.0, 2.0]) * STRIDE
    assert torch.allclose(found[0], torch.cat([centre - extent / 2, centre + extent / 2]))
    assert float(scores[0]) > 0.99


def test_network_takes_any_multiple_of_32() -> None:
    net = FaceNet().eval()
    seen = net(torch.rand(2, 3, 96, 160))
    assert seen.logits.shape == (2, 12, 20)
    assert seen.boxes.shape == (2, 4, 12, 20)
    assert sum(v.numel() for v in net.state_dict().values()) * 2 < 2_000_000  # bytes as float16


@pytest.mark.slow
def test_training_learns_and_resumes(tmp_path: Path, shards: str) -> None:
    weights = train(shards, tmp_path, 0.2, batch=2, people=8)
    assert weights.is_file()
    assert set(FaceNet().state_dict()) == set(torch_load(weights))


def torch_load(path: Path) -> dict[str, Tensor]:
    """Read safetensors."""
    from safetensors.torch import load_file

    return load_file(path)


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """A folder with one small shard of rendered people."""
    from facezoo.data.shards import write_shard
    from facezoo.synth import VERSION, render_batch

    arrays = render_batch(range(16), 96)
    arrays["visible"] = arrays["visible"].astype(np.uint8)
    folder = tmp_path / "shards"
    write_shard(str(folder), 0, arrays, {"head_id": "open-v1", "synth_version": VERSION, "size": 96})
    return str(folder)


def _held_out(yaw_over: float | None = None) -> tuple[list[np.ndarray], list[Tensor]]:
    from facezoo.synth.engine import TEST_SEEDS, render_sample

    samples = [render_sample(seed, 192, (0.25, 0.4)) for seed in list(TEST_SEEDS)[:24]]
    return [s.image for s in samples], [torch.from_numpy(s.box)[None] for s in samples]


def test_embedded_weights_find_held_out_people_upright_and_turned() -> None:
    images, truth = _held_out()
    finder = module.OpenDetector()

    def recall(pictures: list[np.ndarray], boxes: list[Tensor]) -> float:
        hits = [
            len(found.boxes) > 0 and float(overlaps(box, found.boxes)[0].max()) > 0.5
            for found, box in zip(finder.detect(pictures), boxes, strict=True)
        ]
        return sum(hits) / len(hits)

    assert recall(images, truth) >= 0.65
    turned = [np.ascontiguousarray(image[:, ::-1].transpose(1, 0, 2)) for image in images]  # a quarter turn
    swapped = [torch.stack([b[:, 1], 192 - b[:, 2], b[:, 3], 192 - b[:, 0]], 1) for b in truth]
    assert recall(turned, swapped) >= 0.2


def test_pictures_of_any_size_and_nothing_in_them() -> None:
    finder = module.OpenDetector()
    rng = np.random.default_rng(0)
    pictures = [np.zeros((1, 1, 3), np.uint8), np.full((40, 900, 3), 127, np.uint8),
                rng.integers(0, 255, (300, 200, 3), dtype=np.uint8)]  # fmt: skip
    found = finder.detect(pictures)
    assert [len(f.boxes) for f in found] == [0, 0, 0]
    assert all(isinstance(f, Detections) for f in found)


def test_missing_weights_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    module._network.cache_clear()
    try:
        with pytest.raises(AssetError, match=r"model\.safetensors"):
            module.OpenDetector().detect([np.zeros((64, 64, 3), np.uint8)])
    finally:
        module._network.cache_clear()
