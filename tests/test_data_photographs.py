"""Annotated photographs become samples: points where they were, labels of a head that explains them, no bad face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from predict_fakes import picture

from facezoo.data.datamodule import DataConfig, FaceDataModule
from facezoo.data.mixes import MixPart
from facezoo.data.photographs import write_photographs
from facezoo.data.readers import FaceSample, ReaderInfo
from facezoo.data.shards import FIELDS, ShardFolder
from facezoo.geometry.crop import CropSpec, apply_affine, tight_box
from facezoo.heads import load_head
from facezoo.heads.params import HeadParams
from facezoo.synth.engine import label_batch

COUNT, SIDE = 4, 200


class SyntheticAnnotations:
    """Points of synthetic people on pictures of something else; the fifth is no face, the sixth no picture."""

    def __init__(self, folder: Path, markup: str) -> None:
        self.info = ReaderInfo("CC0-1.0", "", markup, "")
        self.truth = {k: torch.from_numpy(v) for k, v in label_batch(range(COUNT), SIDE).items()}
        field = "lm68" if markup == "ibug68" else "lm68_contour"
        self.points = [*self.truth[field].float(), torch.rand(68, 2) * SIDE, self.truth[field][0].float()]
        self.paths = [folder / f"{n}.png" for n in range(COUNT + 2)]
        for n, path in enumerate(self.paths[:-1]):
            Image.fromarray(picture(SIDE, SIDE, n)).save(path)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> FaceSample:
        points = self.points[index]
        return FaceSample(self.paths[index], {"original": points}, tight_box(points), person=7 + index // 2)


@pytest.fixture(scope="module", params=["ibug68", "ibug68_contour"])
def converted(request, tmp_path_factory) -> tuple[SyntheticAnnotations, Path, list[str]]:
    folder, told = tmp_path_factory.mktemp("photographs"), []
    torch.manual_seed(0)
    reader = SyntheticAnnotations(folder, request.param)
    assert write_photographs(reader, folder / "shards", size=96, per_shard=4, told=told.append) == COUNT
    return reader, folder / "shards", told


def test_annotated_points_stay_and_the_others_are_near_the_truth(converted) -> None:
    reader, out, _ = converted
    batch = ShardFolder(out).read(range(COUNT), tuple(FIELDS))
    assert batch["seed"].tolist() == list(range(COUNT)) and batch["images"].shape[-1] == 96
    assert ShardFolder(out).persons().tolist() == [7, 7, 8, 8]
    markup = reader.info.landmarks
    given, other = ("lm68", "lm68_contour") if markup == "ibug68" else ("lm68_contour", "lm68")
    affine = CropSpec(96, scale=1.9).affine(tight_box(reader.truth[given].float()))
    torch.testing.assert_close(batch[given], apply_affine(reader.truth[given].float(), affine))
    side = (batch["box"][:, 2:] - batch["box"][:, :2]).prod(-1).sqrt()
    for name in (other, "points"):
        miss = (batch[name] - apply_affine(reader.truth[name].float(), affine)).norm(dim=-1).mean(1) / side
        assert miss.max() < 0.03, (name, miss)  # 0.008 to 0.020 for these people
    seen = batch["visible"].bool() == reader.truth["visible"]
    assert seen.float().mean() > 0.85


def test_parameters_give_the_points(converted) -> None:
    _, out, _ = converted
    batch = ShardFolder(out).read(range(COUNT), tuple(FIELDS))
    head = load_head("open-v1")
    params = HeadParams(
        identity=batch["identity"].float(), expression=batch["expression"].float(), jaw=batch["jaw"]
    )
    camera = head(params).vertices[:, head.topology.subset(1609)] @ batch["R"].mT + batch["t"][:, None]
    pixels = camera @ batch["K"].mT
    torch.testing.assert_close(pixels[..., :2] / pixels[..., 2:], batch["points"], atol=0.05, rtol=0)


def test_faces_without_a_picture_or_a_head_are_left_out_and_named(converted) -> None:
    _, _, told = converted
    assert len(told) == 2
    assert any(line.startswith(f"face {COUNT} left out: the fitted head misses") for line in told)
    assert any(
        line.startswith(f"face {COUNT + 1} left out: ") and f"{COUNT + 1}.png" in line for line in told
    )


def test_a_second_call_keeps_finished_shards(converted) -> None:
    reader, out, _ = converted
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert list(before) == ["shard-00000.safetensors"]
    assert write_photographs(reader, out, size=96, per_shard=4, told=lambda line: None) == 0
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_photographs_mix_with_rendered_people(converted) -> None:
    _, out, _ = converted
    parts = [MixPart("shards", str(out), weight=3), MixPart("stream", weight=1, validate=True)]
    data = FaceDataModule(
        DataConfig("mix", mix=parts, size=96, batch_size=8, validation=1, workers=0), seed=0
    )
    sizes = data.train.sizes()  # raises where the two do not fit together
    labels = data.train.read(range(12), [name for name in FIELDS if name != "images"])
    assert sizes["points"] == 1609 and labels["points"].shape == (12, 1609, 2)
    assert all(np.isfinite(value.numpy()).all() for value in labels.values())
    assert (labels["seed"] < COUNT).sum() >= 6
