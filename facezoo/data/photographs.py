"""Annotated photographs as shards, so that they can be trained on alone or in a mix.

    python -m facezoo.data.photographs READER FOLDER OUT [--size 176 --shard 500]

A reader knows 68 points of a face, a training sample every label of a head. The rest is therefore fitted: once, here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facezoo.data.cut import cut_face, sample_affine
from facezoo.data.images import load_image
from facezoo.data.readers import READERS, Reader, open_reader
from facezoo.data.shards import write_shard
from facezoo.errors import FacezooError, InputError
from facezoo.fitting import fit
from facezoo.geometry.camera import Camera
from facezoo.geometry.crop import apply_affine, to_homogeneous_affine
from facezoo.heads import HeadModel, load_head
from facezoo.heads.visible_contour import contour68
from facezoo.render.visibility import visibility

POINTS = 1609  # as rendered people have
_SIGMA = 0.015  # of the face's side: what two annotators of one photograph differ by
_WORST = 0.06  # of the face's side, root mean square: beyond it no head has these points
# The 2D markup moves the jaw and the brows' ends with the view; these points lie on the same skin in both.
_FIXED = (8, *range(17, 68))


class _Cut(NamedTuple):
    """One face in its picture of the final size."""

    number: int
    image: Tensor  # (3, S, S) uint8
    points: Tensor  # (68, 2) pixels
    K: Tensor  # (3, 3)
    person: int


def write_photographs(
    reader: Reader,
    out: Path,
    *,
    size: int = 176,
    per_shard: int = 500,
    head: HeadModel | None = None,
    told: Callable[[str], None] = print,
) -> int:
    """Fit a head to every annotated face and store pictures and labels; finished shards are kept.

    The annotated points stay as they are, in the field of their markup (``lm68`` or ``lm68_contour``); dense points,
    the other markup, parameters, pose and visibility are the fitted head's. The camera of a photograph is unknown:
    :meth:`Camera.default_K` is assumed.

    Args:
        reader: annotated faces. The first of their label sets counts.
        out: folder of the shards.
        size: side of the pictures in pixels.
        per_shard: faces of each shard.
        head: the open head by default.
        told: called with a line about each face that is left out.

    Returns:
        Number of faces written by this call.

    Raises:
        InputError: a size below 1, or ``out`` cannot be written.
    """
    if size < 1 or per_shard < 1:
        raise InputError(f"size and per_shard must be at least 1, got {size} and {per_shard}.")
    head = (head or load_head()).eval()
    contour = reader.info.landmarks == "ibug68_contour"
    people = len(reader) > 0 and reader[0].person >= 0
    written = 0
    for shard, first in enumerate(range(0, len(reader), per_shard)):
        if (out / f"shard-{shard:05d}.safetensors").exists():
            continue
        cuts = []
        for number in range(first, min(first + per_shard, len(reader))):
            try:
                cuts.append(_cut(reader, number, size))
            except FacezooError as error:
                told(f"face {number} left out: {error}")
        if not cuts:
            continue
        arrays = label(head, cuts, contour, told)
        if not people:
            del arrays["person"]
        meta = {
            "head_id": head.head_id,
            "size": size,
            "reader": type(reader).__name__,
            "licence": reader.info.licence,
            "labels": "68 annotated points; the rest fitted to them",
        }
        if len(arrays["seed"]):
            write_shard(out, shard, arrays, meta)
            written += len(arrays["seed"])
    return written


@torch.no_grad()
def label(
    head: HeadModel, cuts: list[_Cut], contour: bool, told: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Fit a head to each face and read all labels off it; faces that no head fits are left out.

    Args:
        head: the head.
        cuts: the faces.
        contour: whether the points follow the 2D markup.
        told: called with a line about each face that is left out.

    Returns:
        The arrays of a shard.
    """
    points, K = torch.stack([c.points for c in cuts]), torch.stack([c.K for c in cuts])
    inner = list(_FIXED) if contour else list(range(68))
    side = (points.amax(1) - points.amin(1)).prod(-1).sqrt()
    marks = head.topology.landmark_set("ibug68")
    corners = head.topology.faces[marks.faces]
    nearest = corners.gather(1, marks.bary.argmax(1, keepdim=True))[:, 0]
    sigma = (_SIGMA * side)[:, None].expand(-1, len(inner))
    found = fit(head, points[:, inner], sigma, nearest[inner], K, robust="huber")
    good = torch.isfinite(found.cost) & (found.rms <= _WORST * side)
    for n in (~good).nonzero()[:, 0].tolist():
        told(
            f"face {cuts[n].number} left out: the fitted head misses its points by "
            f"{float(found.rms[n] / side[n]):.1%} of the face"
        )
    camera = head(found.params).vertices @ found.R.mT + found.t[:, None]
    subset = head.topology.subset(POINTS)
    other = head.landmarks(camera, "ibug68") if contour else contour68(head, camera, found.R)
    screen = _project(camera, K)
    visible = visibility(torch.cat([screen, camera[..., 2:]], -1), head.topology.faces, resolution=160)
    derived = _project(other, K)
    lm68, lm68_contour = (derived, points) if contour else (points, derived)
    params = found.params
    assert params.identity is not None and params.expression is not None and params.jaw is not None
    fields = {
        "images": torch.stack([c.image for c in cuts]),
        "points": screen[:, subset],
        "lm68": lm68,
        "lm68_contour": lm68_contour,
        "visible": visible[:, subset].to(torch.uint8),
        "box": torch.cat([lm68.amin(1), lm68.amax(1)], -1),
        "identity": params.identity.half(),
        "expression": params.expression.half(),
        "jaw": params.jaw,
        "R": found.R,
        "t": found.t,
        "K": K,
        "seed": torch.tensor([c.number for c in cuts]),
        "person": torch.tensor([c.person for c in cuts]),
    }
    return {name: value[good].numpy() for name, value in fields.items()}


def _cut(reader: Reader, number: int, size: int) -> _Cut:
    """Load one face and cut it out."""
    sample = reader[number]
    picture = load_image(sample.path)
    box = sample.box.float()[None]
    image = cut_face(picture.pixels, box[0], size)
    affine = sample_affine(box, size)
    points = apply_affine(next(iter(sample.labels.values())).float()[None], affine)[0]
    K = to_homogeneous_affine(affine)[0] @ Camera.default_K(*picture.size)
    return _Cut(number, image, points, K, sample.person)


def _project(points: Tensor, K: Tensor) -> Tensor:
    """Project (B, N, 3) camera points to (B, N, 2) pixels."""
    pixels = points @ K.mT
    return pixels[..., :2] / pixels[..., 2:]


def main() -> int:
    """Parse the command line and convert a data set."""
    parser = argparse.ArgumentParser(
        prog="python -m facezoo.data.photographs",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("reader", help=", ".join(READERS))
    parser.add_argument("folder", help="where the data set lies")
    parser.add_argument("out", type=Path, help="where shards go")
    parser.add_argument("--size", type=int, default=176, help="side of the pictures (default: %(default)s)")
    parser.add_argument(
        "--shard", type=int, default=500, metavar="N", help="faces a shard (default: %(default)s)"
    )
    args = parser.parse_args()

    def told(line: str) -> None:
        print(f"facezoo: {line}", file=sys.stderr)

    try:
        reader = open_reader(args.reader, args.folder)
        count = write_photographs(reader, args.out, size=args.size, per_shard=args.shard, told=told)
    except FacezooError as error:
        told(str(error))
        return 2
    print(f"{count} of {len(reader)} faces written to {args.out}; licence: {reader.info.licence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
