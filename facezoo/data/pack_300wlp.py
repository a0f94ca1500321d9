"""Turn 300W-LP into training shards of the Basel Face Model: the paper's data for ``recipe=synergynet-300wlp``.

python -m facezoo.data.pack_300wlp root=300W_LP out=FOLDER head=bfm-40-10
python -m facezoo.data.pack_300wlp crops=train_aug_120x120 list=train_aug_120x120.list.train params=param_all_norm.pkl \
whitening=param_whitening.pkl out=FOLDER head=bfm-40-10

The first form reads the data set as it is downloaded, the second as 3DDFA packs it. ``limit=N`` takes the first N
pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from facezoo.data.images import load_image
from facezoo.data.readers.mat_labels import ONE_BASED, MatLabels
from facezoo.data.readers.w3ddfa import SIZE as CROP_SIZE
from facezoo.data.readers.w3ddfa import PackedCrops
from facezoo.data.readers.w300lp import W300LpReader
from facezoo.data.shards import write_shard
from facezoo.errors import InputError
from facezoo.geometry.rotations import euler_to_matrix
from facezoo.heads import HeadModel, HeadParams, load_head
from facezoo.settings import Setting, read_settings, run_module, whole

SIZE = 176  # of the stored picture
SIDE = 2.0  # of it over the face's tight box: room for jittered crops
PER_SHARD = 400
FAR = 10.0  # metres: a camera so far away is as good as orthographic
_FLIP = np.diag([1.0, -1.0, -1.0])  # y up, z to the viewer -> OpenCV
# Both forms of the command.
_COMMON = {"out": Setting(needed="FOLDER"), "head": Setting(needed="bfm-40-10"), "limit": Setting(0, whole())}
_RAW = {"root": Setting(needed="300W_LP"), **_COMMON}
_PACKED = {
    "crops": Setting(needed="train_aug_120x120"),
    "list": Setting(needed="train_aug_120x120.list.train"),
    "params": Setting(needed="param_all_norm.pkl"),
    "whitening": Setting(needed="param_whitening.pkl"),
    **_COMMON,
}


@dataclass(frozen=True)
class Posed:
    """A picture with a scaled orthographic head.

    Attributes:
        image: (H, W, 3) uint8.
        rotation: (3, 3) in axes x right, y up, z to the viewer.
        scale: pixels a metre.
        origin: (2,) where the head's origin is seen, pixels, y down, pixel centres at .5.
        identity, expression: coefficients in the head's standard deviations.
        landmarks: (68, 2) annotated points in pixels, or None for the head's own.
        contour: (68, 2) in the markup of 2D data sets, or None.
    """

    image: NDArray[np.uint8]
    rotation: NDArray[np.float64]
    scale: float
    origin: NDArray[np.float64]
    identity: NDArray[np.float64]
    expression: NDArray[np.float64]
    landmarks: NDArray[np.float64] | None = None
    contour: NDArray[np.float64] | None = None


def from_labels(labels: MatLabels, image: NDArray[np.uint8], head: HeadModel) -> Posed:
    """Read a ``.mat`` file's pose and first coefficients: V = f R S + t, y = H + 1 - V_y, pixels from 1."""
    units = head.meta["official_units"]
    pitch, yaw, roll, tx, ty, _, factor = labels.pose
    turn = euler_to_matrix(*(torch.tensor(v, dtype=torch.float64) for v in (yaw, pitch, roll))).numpy()
    origin = np.array([tx, image.shape[0] + 1 - ty]) + ONE_BASED
    contour = None
    if labels.points2d is not None and len(labels.points2d) == 68:
        contour = labels.points2d[:, :2] + ONE_BASED
    points = None if labels.points is None else labels.points[:, :2] + ONE_BASED
    return Posed(
        image,
        turn,
        float(factor) / units["metre"],
        origin,
        _coefficients(labels.shape, units["identity"]),
        _coefficients(labels.expression, units["expression"]),
        points,
        contour,
    )


def from_pose(
    pose: NDArray[np.float64],
    shape: NDArray[np.float64],
    expression: NDArray[np.float64],
    image: NDArray[np.uint8],
    head: HeadModel,
) -> Posed:
    """Read a 3×4 pose in crop pixels: y = size + 1 - V_y, pixels from 1. Its rotation is the nearest one."""
    units = head.meta["official_units"]
    u, lengths, vt = np.linalg.svd(pose[:2, :3], full_matrices=False)
    rows = u @ vt
    origin = np.array([pose[0, 3], image.shape[0] + 1 - pose[1, 3]]) + ONE_BASED
    return Posed(
        image,
        np.concatenate([rows, np.cross(rows[0], rows[1])[None]]),
        float(lengths.mean()) / units["metre"],
        origin,
        _coefficients(shape, units["identity"]),
        _coefficients(expression, units["expression"]),
    )


def to_row(
    posed: Posed, head: HeadModel, subset: torch.Tensor, size: int | None = SIZE
) -> dict[str, NDArray]:
    """Return one shard row.

    Args:
        posed: the picture with its head.
        head: the Basel Face Model.
        subset: (L,) vertices stored as dense points.
        size: side of the stored square around the face; None stores the picture as it is.
    """
    params = HeadParams(
        identity=torch.from_numpy(posed.identity).float()[None],
        expression=torch.from_numpy(posed.expression).float()[None],
    )
    vertices = head(params).vertices
    seen = [
        _project(points[0].double().numpy(), posed)
        for points in (head.landmarks(vertices, "ibug68"), vertices[:, subset])
    ]
    lm68 = seen[0] if posed.landmarks is None else posed.landmarks
    box = np.concatenate([lm68.min(0), lm68.max(0)])
    image, zoom, low = posed.image, 1.0, np.zeros(2)
    if size is not None:
        side = SIDE * float(np.sqrt(np.prod(box[2:] - box[:2])))
        low, zoom = (box[:2] + box[2:]) / 2 - side / 2, size / side
        picture = Image.fromarray(image)
        corners = (*low, *(low + side))
        image = np.asarray(
            picture.transform((size, size), Image.Transform.EXTENT, corners, Image.Resampling.BICUBIC)
        )
    elif image.shape[0] != image.shape[1]:
        raise InputError(f"a crop of {image.shape[1]} × {image.shape[0]} pixels is no square")

    def stored(points: NDArray) -> NDArray:
        return ((points - low) * zoom).astype(np.float32)

    focal = posed.scale * zoom * FAR
    centre = image.shape[0] / 2
    t = np.array([*((stored(posed.origin) - centre) * FAR / focal), FAR])
    return {
        "images": np.ascontiguousarray(image.transpose(2, 0, 1)),
        "points": stored(seen[1]),
        "lm68": stored(lm68),
        "lm68_contour": stored(lm68 if posed.contour is None else posed.contour),
        "visible": np.ones(len(subset), np.uint8),
        "box": stored(box.reshape(2, 2)).reshape(4),
        "identity": posed.identity.astype(np.float32),
        "expression": posed.expression.astype(np.float32),
        "jaw": np.zeros(3, np.float32),
        "R": (_FLIP @ posed.rotation).astype(np.float32),
        "t": t.astype(np.float32),
        "K": np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]], np.float32),
    }


def pack(rows: Iterator[dict[str, NDArray]], out: Path, head: HeadModel) -> int:
    """Write rows as shards; return how many."""
    kept: list[dict[str, NDArray]] = []
    count = number = 0

    def flush() -> None:
        nonlocal number
        arrays = {key: np.stack([row[key] for row in kept]) for key in kept[0]}
        arrays["seed"] = np.arange(count - len(kept), count, dtype=np.int64)
        size = int(arrays["images"].shape[-1])
        write_shard(out, number, arrays, {"head_id": head.head_id, "synth_version": "300w-lp", "size": size})
        number += 1
        kept.clear()

    for row in rows:
        kept.append(row)
        count += 1
        if len(kept) == PER_SHARD:
            flush()
    if kept:
        flush()
    return count


def _project(points: NDArray[np.float64], posed: Posed) -> NDArray[np.float64]:
    moved = posed.scale * points @ posed.rotation[:2].T
    return posed.origin + moved * [1, -1]


def _coefficients(values: NDArray[np.float64], units: list[float]) -> NDArray[np.float64]:
    if len(values) < len(units):
        raise InputError(f"labels have {len(values)} coefficients, the head {len(units)}")
    return values[: len(units)] / np.asarray(units)


def _rows(settings: dict[str, Any], head: HeadModel) -> Iterator[dict[str, NDArray]]:
    subset = head.topology.subset(max(head.topology.subsets))
    limit = settings["limit"]
    if "crops" in settings:
        places = [Path(settings[key]) for key in ("crops", "list", "params", "whitening")]
        crops = PackedCrops(*places)
        for index in range(min(limit or len(crops), len(crops))):
            crop = crops[index]
            image = load_image(crop.path).pixels
            if image.shape[:2] != (CROP_SIZE, CROP_SIZE):
                raise InputError(
                    f"{crop.path} has {image.shape[1]} × {image.shape[0]} pixels, expected 120 × 120"
                )
            yield to_row(from_pose(crop.pose, crop.shape, crop.expression, image, head), head, subset, None)
        return
    reader = W300LpReader(Path(settings["root"]))
    for index in range(min(limit or len(reader), len(reader))):
        image = load_image(reader.picture(index)).pixels
        yield to_row(from_labels(reader.labels(index), image, head), head, subset)


def main(arguments: list[str]) -> int:
    """Pack what the arguments describe; return the exit code."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    packed = any(word.startswith("crops=") for word in arguments)
    settings = read_settings("pack_300wlp", arguments, _PACKED if packed else _RAW)
    head = load_head(settings["head"])
    if "official_units" not in head.meta:
        raise InputError(
            f"head {head.head_id!r} is no Basel Face Model; python -m facezoo.heads.bfm FOLDER adds one"
        )
    count = pack(_rows(settings, head), Path(settings["out"]), head)
    print(f"{count} faces in {settings['out']}; train with data.source=shards data.root={settings['out']}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
