"""Folders of photographs by people: layouts as published, labels once, samples that fit their pictures."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_fakes import POINTS, toy_head_arrays, toy_samples
from photo_folders import SIDE, celeba, label_with, save_picture, vggface2, voxceleb2

from facezoo.data.cut import cut_face, sample_affine
from facezoo.data.datamodule import DataConfig, FaceDataModule
from facezoo.data.extract_frames import extract_all, list_videos
from facezoo.data.mixes import MixPart
from facezoo.data.photo_labels import PhotoLabels
from facezoo.data.photograph_folder import PhotographFolder
from facezoo.data.readers import open_reader
from facezoo.data.readers.portraits import list_portraits
from facezoo.data.shards import FIELDS, to_tensors
from facezoo.errors import AssetError, InputError, UnknownNameError
from facezoo.geometry.crop import CropSpec, apply_affine
from facezoo.heads import HeadModel

PEOPLE = {3: 4, 17: 3, 204: 5}


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return HeadModel(*toy_head_arrays())


@pytest.fixture(scope="module")
def samples(head: HeadModel) -> dict[str, np.ndarray]:
    return toy_samples(head, 12, size=SIDE)


@pytest.fixture(scope="module")
def labelled(samples, head, tmp_path_factory) -> Path:
    """VGGFace2's layout with the toy head's pictures and their exact labels."""
    root = vggface2(tmp_path_factory.mktemp("vgg"), PEOPLE)
    for name, image in zip(list_portraits(root).names, samples["images"], strict=True):
        save_picture(root / name, image.transpose(1, 2, 0))
    label_with(root, samples, head)
    return root


def test_vggface2_is_listed_with_boxes_and_points(tmp_path: Path) -> None:
    root = vggface2(tmp_path, PEOPLE)
    for given in (list_portraits(root), list_portraits(root, "vggface2")):
        assert given.layout == "vggface2" and len(given) == 12
        assert given.names[0] == "train/n000003/0001_01.jpg"
        assert given.person.tolist() == [3] * 4 + [17] * 3 + [204] * 5
        assert given.boxes[1].tolist() == [11, 20, 51, 70]
        assert given.points5[1].flatten().tolist() == [v + 1.5 for v in range(10)]
    inner = list_portraits(root / "train")
    assert inner.names[0] == "n000003/0001_01.jpg" and np.isnan(inner.boxes).all()
    few = given.fewer(2)
    assert few.person.tolist() == [3, 3, 17, 17, 204, 204] and few.names[2] == "train/n000017/0001_01.jpg"
    assert few.boxes[2].tolist() == given.boxes[4].tolist()


def test_celeba_is_listed(tmp_path: Path) -> None:
    root = celeba(tmp_path, [5, 9, 5, 7])
    given = list_portraits(root)
    assert given.layout == "celeba" and given.person.tolist() == [5, 9, 5, 7]
    assert given.names[2] == "img_celeba/000003.jpg" and given.boxes[2].tolist() == [12, 20, 52, 70]
    assert given.points5[2].flatten().tolist() == [v + 2 for v in range(10)]
    assert given.fewer(1).names == ["img_celeba/000001.jpg", "img_celeba/000002.jpg", "img_celeba/000004.jpg"]
    save_picture(root / "img_celeba" / "000005.jpg")
    with pytest.raises(AssetError, match=r"does not say whom 000005\.jpg shows"):
        list_portraits(root)
    (root / "identity_CelebA.txt").unlink()
    with pytest.raises(AssetError, match=r"lacks identity_CelebA\.txt"):
        list_portraits(root)


def test_voxceleb2_frames_are_listed_and_videos_name_the_command(tmp_path: Path) -> None:
    given = list_portraits(voxceleb2(tmp_path / "frames", {12: 2, 7: 1}))
    assert given.layout == "voxceleb2" and given.person.tolist() == [7, 12, 12]
    assert given.names[0] == "dev/id00007/21Uxsk56VDQ/0000.jpg"
    clip = tmp_path / "videos" / "dev" / "mp4" / "id00012" / "abc" / "00001.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"not a video")
    with pytest.raises(AssetError, match=r"python -m facezoo\.data\.extract_frames root="):
        list_portraits(tmp_path / "videos")
    assert list_videos(tmp_path / "videos") == [(clip, Path("id00012/abc/00001"))]
    told: list[str] = []
    assert extract_all(list_videos(tmp_path / "videos"), tmp_path / "out", 3, told.append) == 0
    assert "id00012/abc/00001 left out" in told[0]


def test_frames_are_evenly_spread_and_taken_once(tmp_path: Path) -> None:
    clip = [np.full((40, 40, 3), 10 * n, np.uint8) for n in range(21)]
    videos = [(clip, Path("id00001/abc/00001"))]
    assert extract_all(videos, tmp_path, 3, lambda line: None) == 3
    given = list_portraits(tmp_path)
    assert [Path(name).stem for name in given.names] == ["000005", "000010", "000015"]
    assert given.person.tolist() == [1, 1, 1]
    (tmp_path / given.names[0]).unlink()
    assert extract_all(videos, tmp_path, 3, lambda line: None) == 0  # not read again


def test_other_folders_are_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    save_picture(tmp_path / "holiday.jpg")
    with pytest.raises(AssetError, match=r"n000001.*img_celeba.*id00012"):
        list_portraits(tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'celeba'"):
        list_portraits(tmp_path, "celebA")
    root = vggface2(tmp_path / "vgg", {1: 1})
    (root / "bb_landmark" / "loose_bb_train.csv").write_text('NAME_ID,X,Y,W,H\n"n1/1",1,2,3,4\n"n1/2",1,2\n')
    with pytest.raises(AssetError, match=r"row of n1/2 holds .* expected 4 numbers"):
        list_portraits(root)


def test_a_reader_without_labels_names_the_command(tmp_path: Path, labelled: Path) -> None:
    root = vggface2(tmp_path, {1: 1})
    wanted = rf"label_photographs root={root} out={root}/labels\.safetensors"
    with pytest.raises(AssetError, match=wanted):
        open_reader("vggface2", root)
    with pytest.raises(AssetError, match=wanted):
        FaceDataModule(DataConfig("photographs", str(root)), seed=0)
    (root / "labels.safetensors").write_bytes(b"broken")
    with pytest.raises(AssetError, match="cannot be read"):
        open_reader("vggface2", root)
    (root / "labels.safetensors").write_bytes((labelled / "labels.safetensors").read_bytes())
    with pytest.raises(AssetError, match="labels vggface2, not celeba"):
        open_reader("celeba", root)
    with pytest.raises(AssetError, match=r"0001_01\.jpg, which does not exist; point root="):
        PhotographFolder(root, 64)


def test_labels_come_back(labelled: Path, samples: dict[str, np.ndarray]) -> None:
    reader = open_reader("vggface2", labelled)
    assert len(reader) == 12 and [reader[n].person for n in (0, 4, 11)] == [3, 17, 204]
    truth = to_tensors(samples)
    assert torch.equal(reader[5].labels["original"], truth["lm68"][5])
    assert torch.equal(reader[5].labels["contour"], truth["lm68_contour"][5])
    assert reader[5].path == labelled / "train/n000017/0002_01.jpg" and reader[5].path.is_file()
    labels = PhotoLabels(labelled / "labels.safetensors")
    rows = [7, 0, 7, 11]
    some = pickle.loads(pickle.dumps(labels)).read(rows)  # as a loader process gets it
    for name in ("lm68", "R", "t", "K", "jaw", "identity", "expression", "visible"):
        assert torch.equal(getattr(some, name).float(), truth[name][rows].float()), name
    torch.testing.assert_close(some.points, truth["points"][rows], atol=0.03, rtol=0)  # half precision
    assert labels.sizes() == {"points": POINTS, "n_identity": 3, "n_expression": 3}
    assert not (labelled / "labels.safetensors.parts").exists()
    with pytest.raises(IndexError):
        reader[12]


def test_samples_fit_their_pictures(labelled: Path, samples: dict[str, np.ndarray], head: HeadModel) -> None:
    folder = PhotographFolder(labelled, 80)
    batch = folder.read(range(12))
    assert set(batch) == {*FIELDS, "person"} and batch["images"].shape == (12, 3, 80, 80)
    assert batch["images"].dtype == torch.uint8 and batch["seed"].tolist() == list(range(12))
    vertices = head.v_template + torch.einsum(
        "vck,nk->nvc", head.shapedirs, torch.cat([batch["identity"], batch["expression"]], 1)
    )
    pixels = (vertices @ batch["R"].mT + batch["t"][:, None]) @ batch["K"].mT
    torch.testing.assert_close(pixels[..., :2] / pixels[..., 2:], batch["points"], atol=0.1, rtol=0)
    box = batch["box"]
    torch.testing.assert_close((box[:, :2] + box[:, 2:]) / 2, torch.full((12, 2), 40.0), atol=1e-3, rtol=0)
    share = (box[:, 2:] - box[:, :2]).prod(1).sqrt() / 80
    torch.testing.assert_close(share, torch.full((12,), 1 / 1.9))
    labels = folder.read([3, 1], [name for name in FIELDS if name != "images"])  # opens no picture
    assert all(torch.equal(labels[name], batch[name][[3, 1]]) for name in labels)


def test_a_cut_is_the_crop_of_the_whole_picture() -> None:
    rng = np.random.default_rng(0)
    smooth = torch.rand(1, 3, 30, 40, generator=torch.Generator().manual_seed(0))
    pixels = (torch.nn.functional.interpolate(smooth, (600, 800), mode="bicubic")[0].clamp(0, 1) * 255).byte()
    for _ in range(6):
        x, y = rng.uniform(0, 800), rng.uniform(0, 600)
        side = rng.uniform(20, 300)
        box = torch.tensor([x - side / 2, y - side / 2, x + side / 2, y + side * 0.6])
        spec = CropSpec(64, scale=1.9, padding="edge")
        whole = (spec.crop(pixels.float() / 255, box[None])[0] * 255).round()
        cut = cut_face(pixels.permute(1, 2, 0).numpy(), box, 64)
        assert float((cut.float() - whole).abs().max()) <= 1
        assert torch.equal(sample_affine(box[None], 64), spec.affine(box[None]))


def test_a_dot_is_cut_to_where_its_label_goes() -> None:
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[118:122, 198:202] = 255
    box = torch.tensor([150.0, 60, 280, 200])
    cut = cut_face(pixels, box, 90)[0].double()
    axis = torch.arange(90).double() + 0.5
    found = torch.stack([(cut.sum(0) * axis).sum(), (cut.sum(1) * axis).sum()]) / cut.sum()
    wanted = apply_affine(torch.tensor([[[200.0, 120.0]]]), sample_affine(box[None], 90))[0, 0]
    torch.testing.assert_close(found.float(), wanted, atol=0.05, rtol=0)


def test_photographs_train_by_people_alone_and_in_a_mix(
    labelled: Path, samples, head, tmp_path: Path
) -> None:
    config = DataConfig(
        "photographs", str(labelled), size=64, batch_size=4, pictures=2, validation=3, workers=0
    )
    data = FaceDataModule(config, seed=2)
    assert data.head_id == "toy" and data.train.sizes()["size"] == 64
    held = torch.cat([batch["person"] for batch in data.validation_loader()])
    assert held.tolist() == [204] * 3
    loader = iter(data.train_loader())
    for _ in range(4):
        batch = next(loader)
        people = batch["person"].view(2, 2)
        assert (people == people[:, :1]).all() and 204 not in people
        assert batch["images"].shape == (4, 3, 64, 64)
    other = celeba(tmp_path, [3, 3, 3, 17, 17, 17, 17, 9, 9, 9, 9, 9])
    label_with(other, samples, head)
    parts = [MixPart("photographs", str(labelled), validate=True), MixPart("photographs", str(other))]
    mixed = FaceDataModule(
        DataConfig("mix", mix=parts, size=64, batch_size=4, pictures=2, validation=3, workers=0), seed=2
    )
    batch = mixed.train.read(range(40))
    people = batch["person"].view(-1, 2)
    assert (people == people[:, :1]).all()
    assert {p % 2 for p in people.flatten().tolist()} == {0, 1}  # the two folders' people are apart
    with pytest.raises(InputError, match=r"data\.mix\[0\] needs root: FOLDER of a labelled data set"):
        DataConfig("mix", mix=[MixPart("photographs")])
    with pytest.raises(InputError, match=r"data\.labels belongs to"):
        DataConfig("shards", "/x", labels="/y")
