"""Labelling photographs: the wanted face or none, points where the truth is, exact resuming, refusals with a cure."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photo_folders import save_picture, vggface2

import facezoo
from facezoo.data import label_photographs as labelling
from facezoo.data.photo_labels import PhotoLabels
from facezoo.data.photograph_folder import PhotographFolder
from facezoo.data.readers import open_reader
from facezoo.data.readers.portraits import list_portraits
from facezoo.errors import InputError
from facezoo.synth.engine import Sample, render_sample
from facezoo.types import Face

NOTHING = np.full(4, np.nan, np.float32), np.full((5, 2), np.nan, np.float32)


def face_at(x: float, y: float, side: float) -> Face:
    """A face whose 68 points fill a square evenly, with eyes, nose and mouth in their places."""
    points = torch.rand(68, 2, generator=torch.Generator().manual_seed(0))
    points[0], points[1] = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])
    points[36:42], points[42:48] = torch.tensor([0.3, 0.3]), torch.tensor([0.7, 0.3])
    points[30], points[48], points[54] = (torch.tensor(p) for p in ([0.5, 0.55], [0.35, 0.8], [0.65, 0.8]))
    box = torch.tensor([x, y, x + side, y + side])
    return Face(box, 1.0, {"ibug68": points * side + torch.tensor([x, y])})


def test_the_wanted_face_is_chosen_by_points_by_box_or_by_size() -> None:
    large, small = face_at(100, 100, 100), face_at(300, 100, 60)
    five = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.55], [0.35, 0.8], [0.65, 0.8]], np.float32)
    for want in (large, small):
        side = float(want.box[2] - want.box[0])
        points = five * side + want.box[:2].numpy()
        assert labelling.wanted_face([large, small], NOTHING[0], points) == (want, "")
        loose = (want.box + 0.3 * side * torch.tensor([-1.0, -1, 1, 1])).numpy()  # VGGFace2's boxes are loose
        assert labelling.wanted_face([large, small], loose, NOTHING[1]) == (want, "")
    elsewhere = five * 100
    assert labelling.wanted_face([large, small], NOTHING[0], elsewhere) == (None, "another face")
    assert (
        labelling.wanted_face([large], np.array([0, 0, 90, 90], np.float32), NOTHING[1])[1] == "another face"
    )
    assert labelling.wanted_face([small, large], *NOTHING) == (large, "")
    assert labelling.wanted_face([face_at(300, 0, 80), large], *NOTHING) == (None, "several faces")
    assert labelling.wanted_face([], *NOTHING) == (None, "no face")
    assert labelling.wanted_face([face_at(0, 0, 30)], *NOTHING) == (None, "small")


class Counting:
    """dense-1609 that counts the pictures it searches, and may break down."""

    def __init__(self, model: Any) -> None:
        self.model, self.head, self.model_id, self.searched = model, model.head, model.model_id, 0

    def predict(self, source: Any, *, boxes: Any = None, fit: bool = True) -> Any:
        self.searched += len(source) if boxes is None else 0
        return self.model.predict(source, boxes=boxes, fit=fit)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> tuple[Path, dict[str, Sample], Counter[str], Counting, list[str]]:
    """Two synthetic people, noise, and a broken file; the first call is killed after the first part."""
    root = vggface2(tmp_path_factory.mktemp("vgg"), {1: 2, 2: 2}, boxes=False)
    people = {f"train/n00000{n}/0001_01.jpg": render_sample(900_000_002 + 6 * n, 160) for n in (1, 2)}
    for name, sample in people.items():
        save_picture(root / name, sample.image)
    (root / "train/n000002/0002_01.jpg").write_bytes(b"no picture")
    model = Counting(facezoo.load("dense-1609", device="cpu"))
    told: list[str] = []

    def killed(line: str) -> None:
        told.append(line)
        raise KeyboardInterrupt

    patch = pytest.MonkeyPatch()
    patch.setattr(labelling, "CHUNK", 2)
    out = root / "labels.safetensors"
    with pytest.raises(KeyboardInterrupt):
        labelling.label_photographs(list_portraits(root), out, model, told=killed)
    assert model.searched == 2 and not out.exists()
    with pytest.raises(InputError, match="parts of other pictures or settings"):
        labelling.label_photographs(list_portraits(root), out, model, smallest=20)
    counts = labelling.label_photographs(list_portraits(root), out, model, told=told.append)
    patch.undo()
    return root, people, counts, model, told


def test_only_certain_faces_are_labelled_and_all_are_counted(labelled) -> None:
    root, people, counts, model, told = labelled
    assert counts == {"labelled": 2, "no face": 1, "unreadable": 1}
    assert model.searched == 3  # what the first call had done was not done again, nor the broken file
    assert told[0].startswith("2/4 pictures, 1 labelled, left out: no face 1;") and told[-1].startswith("4/4")
    labels = PhotoLabels(root / "labels.safetensors")
    assert [labels.name(n) for n in range(2)] == list(people) and labels.persons().tolist() == [1, 2]
    assert labels.meta["head_id"] == "open-v1" and labels.meta["counts"] == dict(counts)
    assert not (root / "labels.safetensors.parts").exists()


def test_labels_lie_on_the_true_points_and_agree_with_each_other(labelled) -> None:
    root, people, _, model, _ = labelled
    reader = open_reader("vggface2", root)
    for face, truth in zip((reader[0], reader[1]), people.values(), strict=True):
        side = float((face.box[2:] - face.box[:2]).prod().sqrt())
        off = (face.labels["original"] - torch.from_numpy(truth.lm68)).norm(dim=1).mean()
        assert float(off) < 0.05 * side
    batch = PhotographFolder(root, 176).read([0, 1])
    vertices = model.head.v_template + torch.einsum(
        "vck,nk->nvc", model.head.shapedirs[..., : batch["identity"].shape[1]], batch["identity"]
    )
    nose = model.head.landmarks(vertices, "ibug68")[:, 30]  # hardly moves with the expression
    seen = (batch["R"] @ nose[..., None] + batch["t"][..., None]).mT @ batch["K"].mT
    off = (seen[:, 0, :2] / seen[:, 0, 2:] - batch["lm68"][:, 30]).norm(dim=1)
    assert float(off.max()) < 0.1 * 176 / 1.9
    true_share = np.mean([sample.visible.mean() for sample in people.values()])
    assert abs(float(batch["visible"].float().mean()) - true_share) < 0.15


def test_what_cannot_be_labelled_is_refused(tmp_path: Path, labelled) -> None:
    root = vggface2(tmp_path, {1: 1}, boxes=False)  # noise
    with pytest.raises(InputError, match=r"shows a face for certain: no face 1"):
        labelling.label_photographs(
            list_portraits(root), root / "x.safetensors", labelled[3], told=lambda _: None
        )


@pytest.mark.slow
def test_the_command_labels_and_then_refuses_to_do_it_again(tmp_path: Path, labelled) -> None:
    out = tmp_path / "labels.safetensors"
    command = [sys.executable, "-m", "facezoo.data.label_photographs", f"root={labelled[0]}", f"out={out}"]
    done = subprocess.run([*command, "per_person=1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "2 of 2 photographs labelled" in done.stdout, done.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "is there already" in again.stderr
