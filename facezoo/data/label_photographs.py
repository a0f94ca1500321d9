"""Set 68 and 1609 points on photographs of known people, once, so that they can be trained on.

    python -m facezoo.data.label_photographs root=VGGFace2 out=VGGFace2/labels.safetensors

Layouts: VGGFace2, CelebA, VoxCeleb2's frames (layout=auto looks). The detector finds the face, dense-1609 reads it;
with fit=true the head is fitted to the points as well, which takes a multiple of the time. Left out and counted are
pictures without the wanted face, faces smaller than smallest= pixels, and those that read differently from a moved box.
A call that was ended goes on where it stopped. Also: per_person= pictures of each, limit= pictures, model=, device=.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from facezoo.data.images import LoadedImage, load_image
from facezoo.data.photo_labels import Labels, join_parts, pack, parts_done, write_part
from facezoo.data.readers.portraits import INFOS, Portraits, list_portraits
from facezoo.errors import FacezooError, InputError
from facezoo.render.visibility import visibility
from facezoo.settings import Setting, read_settings, run_module, switch, whole

if TYPE_CHECKING:
    from facezoo.heads import HeadModel
    from facezoo.types import Face, Prediction

CHUNK = 64  # pictures in memory, and in each part of the result
SMALLEST = 48  # pixels of a face's side: below, the points of eyes and lips fall together
MOVED = 0.05  # of the face's side, as the paper moves its boxes
STEADY = (
    0.04  # of the face's side: what two readings of one face may differ by, on average over the 68 points
)
_POINTS5 = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (30,), (48,), (54,))
_NEAR = 0.15  # of the face's side: how far the data set's five points may be off
_OVERLAP = 0.15  # intersection over union with the data set's box, which is looser than ours
_LARGER = 1.5  # a face whose side exceeds the next one's by this is the picture's subject


class LandmarkModel(Protocol):
    """What labels photographs: dense-1609, or another dense model of a head."""

    model_id: str

    @property
    def head(self) -> HeadModel:
        """The head whose vertices the dense points are."""

    def predict(self, source: Any, *, boxes: Any = None, fit: bool = True) -> Any:
        """Return a prediction for each picture of a list."""


def label_photographs(
    portraits: Portraits,
    out: Path,
    model: LandmarkModel,
    *,
    fit: bool = False,
    smallest: int = SMALLEST,
    told: Callable[[str], None] = print,
) -> Counter[str]:
    """Label pictures and write the labels of those whose face is certain.

    Args:
        portraits: the pictures.
        out: the file; finished parts are kept in ``OUT.parts`` until all are done.
        model: reads the faces.
        fit: fit head and camera to the points instead of taking the network's estimate.
        smallest: side of the smallest face in pixels.
        told: called with a line of progress.

    Returns:
        How many pictures were labelled (``"labelled"``), and how many left out for each reason.

    Raises:
        InputError: the parts of an earlier call are of other pictures or settings, or none was labelled.
    """
    folder = out.with_name(f"{out.name}.parts")
    digest = hashlib.sha256("\n".join(portraits.names).encode()).hexdigest()
    key = [digest, model.model_id, fit, smallest]
    done = parts_done(folder)
    if any(part["key"] != key for part in done.values()):
        raise InputError(
            f"{folder} holds parts of other pictures or settings; give the settings of that call, or delete the folder"
        )
    counts: Counter[str] = Counter()
    for part in done.values():
        counts.update(part["counts"])
    start, before = time.monotonic(), sum(counts.values())
    for number, first in enumerate(range(0, len(portraits), CHUNK)):
        if number in done:
            continue
        rows = range(first, min(first + CHUNK, len(portraits)))
        faces, found = _read_chunk(portraits, rows, model, fit, smallest)
        if faces:
            names = [portraits.names[row] for row, _ in faces]
            person = [int(portraits.person[row]) for row, _ in faces]
            arrays = pack(names, person, _labels(model.head, [face for _, face in faces]))
            write_part(folder, number, arrays, {"key": key, "counts": dict(found)})
        counts.update(found)
        told(_progress(counts, len(portraits), before, time.monotonic() - start))
    if not counts["labelled"]:
        raise InputError(f"no picture of {portraits.root} shows a face for certain: {_reasons(counts)}")
    info = INFOS[portraits.layout]
    meta = {
        "layout": portraits.layout, "licence": info.licence, "url": info.url, "head_id": model.head.head_id,
        "model": model.model_id, "fit": fit, "counts": dict(counts),
    }  # fmt: skip
    join_parts(folder, out, meta)
    return counts


def _read_chunk(
    portraits: Portraits, rows: range, model: LandmarkModel, fit: bool, smallest: int
) -> tuple[list[tuple[int, Face]], Counter[str]]:
    """Return the certain faces of some pictures with their numbers, and the fate of each picture."""
    counts: Counter[str] = Counter()
    pictures: dict[int, LoadedImage] = {}
    for row in rows:
        try:
            pictures[row] = load_image(portraits.root / portraits.names[row])
        except FacezooError:
            counts["unreadable"] += 1
    chosen: dict[int, Face] = {}
    predictions: Sequence[Prediction] = model.predict(list(pictures.values()), fit=fit) if pictures else []
    for row, prediction in zip(pictures, predictions, strict=True):
        face, doubt = wanted_face(list(prediction), portraits.boxes[row], portraits.points5[row], smallest)
        if face is None:
            counts[doubt] += 1
        else:
            chosen[row] = face
    steady = _steady(model, [pictures[row] for row in chosen], list(chosen.values()))
    counts["unsteady"] += steady.count(False)
    counts["labelled"] += steady.count(True)
    kept = [item for item, sure in zip(chosen.items(), steady, strict=True) if sure]
    return kept, +counts


def wanted_face(
    faces: list[Face], box: np.ndarray, points5: np.ndarray, smallest: int = SMALLEST
) -> tuple[Face | None, str]:
    """Choose the face that a data set means.

    Args:
        faces: all faces that were found.
        box: (4,) of the data set, or NaN.
        points5: (5, 2) of the data set, or NaN.
        smallest: side in pixels.

    Returns:
        The face and ``""``, or None and why.
    """
    if not faces:
        return None, "no face"
    sides = [_side(face) for face in faces]
    if np.isfinite(points5).all():
        target = torch.from_numpy(points5)
        off = [
            float((_five(face) - target).norm(dim=1).mean()) / side
            for face, side in zip(faces, sides, strict=True)
        ]
        best = int(np.argmin(off))
        certain = off[best] <= _NEAR
    elif np.isfinite(box).all():
        shared = [_overlap(face.box, torch.from_numpy(box)) for face in faces]
        best = int(np.argmax(shared))
        certain = shared[best] >= _OVERLAP
    else:
        best = int(np.argmax(sides))
        rest = [side for n, side in enumerate(sides) if n != best]
        if rest and sides[best] < _LARGER * max(rest):
            return None, "several faces"
        certain = True
    if not certain:
        return None, "another face"
    return (faces[best], "") if sides[best] >= smallest else (None, "small")


def _steady(model: LandmarkModel, pictures: list[LoadedImage], faces: list[Face]) -> list[bool]:
    """Read each face again from a box moved by 5 %, to a side of its own, and compare."""
    if not faces:
        return []
    boxes = []
    for number, face in enumerate(faces):
        angle = torch.tensor(2.4 * number)  # the golden angle: all directions occur
        boxes.append(face.box + MOVED * _side(face) * torch.stack([angle.cos(), angle.sin()]).repeat(2))
    again = model.predict(pictures, boxes=boxes, fit=False)
    return [
        float((other[0].landmarks["ibug68"] - face.landmarks["ibug68"]).norm(dim=1).mean())
        <= STEADY * _side(face)
        for face, other in zip(faces, again, strict=True)
    ]


@torch.no_grad()
def _labels(head: HeadModel, faces: list[Face]) -> Labels:
    """Collect the labels of faces that were read with one head."""

    def stack(values: list[Tensor | None]) -> Tensor:
        return torch.cat([value.float().cpu() for value in values if value is not None])

    params = [face.params for face in faces if face.params is not None]
    cameras = [face.camera for face in faces if face.camera is not None]
    R, t, K = (torch.stack([getattr(c, name).float() for c in cameras]) for name in ("R", "t", "K"))
    vertices = torch.stack([face.vertices for face in faces if face.vertices is not None])
    camera = vertices @ R.mT + t[:, None]
    boxes = torch.stack([face.box for face in faces])
    # Faces are as large as they are: visibility is drawn in a frame of 160 pixels around each.
    zoom = 100 / (boxes[:, 2:] - boxes[:, :2]).amax(1)
    pixels = camera @ K.mT
    screen = (pixels[..., :2] / pixels[..., 2:] - boxes[:, None, :2]) * zoom[:, None, None] + 30
    seen = visibility(torch.cat([screen, camera[..., 2:]], -1), head.topology.faces.cpu(), resolution=160)
    dense = torch.stack([face.landmarks["dense"] for face in faces])
    return Labels(
        points=dense,
        lm68=torch.stack([face.landmarks["ibug68"] for face in faces]),
        lm68_contour=torch.stack([face.landmarks["ibug68_contour"] for face in faces]),
        visible=seen[:, head.topology.subset(dense.shape[1]).cpu()].to(torch.uint8),
        identity=stack([p.identity for p in params]),
        expression=stack([p.expression for p in params]),
        jaw=stack([p.jaw for p in params]),
        R=R,
        t=t,
        K=K,
    )


def _side(face: Face) -> float:
    return float((face.box[2:] - face.box[:2]).prod().sqrt())


def _five(face: Face) -> Tensor:
    points = face.landmarks["ibug68"]
    return torch.stack([points[list(group)].mean(0) for group in _POINTS5])


def _overlap(a: Tensor, b: Tensor) -> float:
    """Return intersection over union of two boxes (4,)."""
    inner = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner))


def _reasons(counts: Counter[str]) -> str:
    left_out = [f"{reason} {n}" for reason, n in counts.most_common() if reason != "labelled"]
    return ", ".join(left_out) or "none"


def _progress(counts: Counter[str], total: int, before: int, seconds: float) -> str:
    done = sum(counts.values())
    rate = (done - before) / max(seconds, 1e-6)
    return (
        f"{done}/{total} pictures, {counts['labelled']} labelled, left out: {_reasons(counts)}; {rate:.1f} a second, "
        f"{(total - done) / max(rate, 1e-6) / 60:.0f} min left"
    )


def _run(arguments: list[str]) -> None:
    known = {
        "root": Setting(needed="FOLDER"),
        "out": Setting(needed="FILE"),
        "layout": Setting("auto"),
        "model": Setting("dense-1609"),
        "device": Setting("auto"),
        "fit": Setting(False, switch),
        "smallest": Setting(SMALLEST, whole(1)),
        "per_person": Setting(0, whole()),
        "limit": Setting(0, whole()),
    }
    given = read_settings("label_photographs", arguments, known)
    out = Path(given["out"]).expanduser()
    if out.exists():
        raise InputError(f"{out} is there already; delete it to label the photographs again")
    portraits = list_portraits(given["root"], given["layout"]).fewer(given["per_person"])
    if given["limit"]:
        portraits = portraits.some(np.arange(min(given["limit"], len(portraits))))
    import facezoo

    model: Any = facezoo.load(given["model"], device=given["device"])
    if not hasattr(model, "head"):
        raise InputError(
            f"model={given['model']} gives no dense landmarks; use model=dense-1609 or one like it"
        )
    counts = label_photographs(portraits, out, model, fit=given["fit"], smallest=given["smallest"])
    info = INFOS[portraits.layout]
    print(f"{counts['labelled']} of {len(portraits)} photographs labelled in {out}; licence: {info.licence}")


if __name__ == "__main__":
    sys.exit(run_module(__doc__, _run, sys.argv[1:]))
