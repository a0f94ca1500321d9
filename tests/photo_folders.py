"""Tiny data sets of photographs in the layouts that VGGFace2, CelebA and VoxCeleb2 are published in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facezoo.data.photo_labels import Labels, join_parts, pack, write_part
from facezoo.data.readers.portraits import list_portraits
from facezoo.data.shards import to_tensors
from facezoo.heads import HeadModel

SIDE = 96


def save_picture(path: Path, pixels: np.ndarray | int = 0) -> None:
    """Write a JPEG: an array (H, W, 3), or noise of a seed."""
    if isinstance(pixels, int):
        pixels = np.random.default_rng(pixels).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def vggface2(root: Path, people: dict[int, int], boxes: bool = True) -> Path:
    """Write train/n000001/0001_01.jpg ..., as many of each person, with the lists of boxes and landmarks."""
    names = [f"n{person:06d}/{n:04d}_01" for person, count in people.items() for n in range(1, count + 1)]
    for seed, name in enumerate(names):
        save_picture(root / "train" / f"{name}.jpg", seed)
    if boxes:
        (root / "bb_landmark").mkdir()
        rows = [f'"{name}",{10 + n},20,40,50' for n, name in enumerate(names)]
        text = "\n".join(["NAME_ID,X,Y,W,H", *rows])
        (root / "bb_landmark" / "loose_bb_train.csv").write_text(text)
        rows = [f'"{name}",' + ",".join(f"{v + n}.5" for v in range(10)) for n, name in enumerate(names)]
        heading = "NAME_ID," + ",".join(f"P{k}X,P{k}Y" for k in range(1, 6))
        (root / "bb_landmark" / "loose_landmark_train.csv").write_text("\n".join([heading, *rows]))
    return root


def celeba(root: Path, people: list[int]) -> Path:
    """Write img_celeba/000001.jpg ... of these people, and the three lists."""
    names = [f"{n:06d}.jpg" for n in range(1, len(people) + 1)]
    for seed, name in enumerate(names):
        save_picture(root / "img_celeba" / name, seed)
    rows = [f"{name} {person}" for name, person in zip(names, people, strict=True)]
    (root / "identity_CelebA.txt").write_text("\n".join(rows) + "\n")
    rows = [f"{name}    {10 + n}  20  40  50" for n, name in enumerate(names)]
    text = "\n".join([str(len(names)), "image_id x_1 y_1 width height", *rows])
    (root / "list_bbox_celeba.txt").write_text(text + "\n")
    parts = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    heading = " ".join(f"{part}_{axis}" for part in parts for axis in "xy")
    rows = [f"{name} " + "  ".join(str(v + n) for v in range(10)) for n, name in enumerate(names)]
    (root / "list_landmarks_celeba.txt").write_text("\n".join([str(len(names)), heading, *rows]) + "\n")
    return root


def voxceleb2(root: Path, people: dict[int, int]) -> Path:
    """Write dev/id00012/VIDEO/0001.jpg ..., as many of each person."""
    for person, count in people.items():
        for n in range(count):
            save_picture(root / "dev" / f"id{person:05d}" / "21Uxsk56VDQ" / f"{n:04d}.jpg", 100 * person + n)
    return root


def label_with(root: Path, samples: dict[str, np.ndarray], head: HeadModel) -> Path:
    """Write the label file of a folder from toy samples (SIDE pixels), one a picture; return it."""
    portraits, out = list_portraits(root), root / "labels.safetensors"
    rows = to_tensors({name: value[: len(portraits)] for name, value in samples.items()})
    labels = Labels(*(torch.as_tensor(rows[name]) for name in Labels._fields))
    folder = root / "labels.safetensors.parts"
    half = len(portraits) // 2
    for number, part in enumerate((slice(0, half), slice(half, None))):
        some = Labels(*(value[part] for value in labels))
        arrays = pack(portraits.names[part], portraits.person[part].tolist(), some)
        write_part(folder, number, arrays, {})
    meta = {"layout": portraits.layout, "licence": "research only", "head_id": head.head_id, "model": "toy"}
    join_parts(folder, out, meta)
    return out
