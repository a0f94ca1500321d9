"""The first pass over a video: dense landmarks of every face in every frame, stored in parts so that it can go on.

A part holds some frames' observations and the follower's memory after them. A pass that was cut off starts at the last
whole part with that memory, so that it gives what an unbroken one gives.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from facezoo.data.video import FrameSource
from facezoo.errors import AssetError, InputError
from facezoo.heads.model import HeadModel
from facezoo.mesh.io.atomic import write_bytes, write_json
from facezoo.models.predict import FaceModel
from facezoo.tracking.people import Follower, FollowerState
from facezoo.types import Face

if TYPE_CHECKING:
    from facezoo.tracking.online import Online

PART = 50  # frames
FORMAT = 2  # of a part


@dataclass(frozen=True)
class Observations:
    """What the networks saw of one person.

    Attributes:
        number: of the person.
        frames: (T,) numbers of the frames with this face.
        segment: (T,) scene between cuts.
        points: (T, N, 2) pixels; sigma (T, N) pixels.
        landmarks68: (T, 68, 2) pixels.
        boxes: (T, 4).
        steps: (T,) of the online fit that a budget granted; 0 is as many as its options say.
    """

    number: int
    frames: NDArray[np.int64]
    segment: NDArray[np.int64]
    points: NDArray[np.float32]
    sigma: NDArray[np.float32]
    landmarks68: NDArray[np.float32]
    boxes: NDArray[np.float32]
    steps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frames)


FIELDS = ("number", "frames", "segment", "points", "sigma", "landmarks68", "boxes", "steps")
Row = dict[str, Any]


def observe(
    follower: Follower,
    source: FrameSource,
    work: Path | None,
    settings: dict[str, Any],
    *,
    overwrite: bool = False,
    online: Online | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Observations], tuple[int, int], int]:
    """Follow all faces of a video.

    Args:
        follower: reads frames.
        source: the frames.
        work: folder for the parts; None keeps everything in memory.
        settings: JSON values that the observations depend on.
        overwrite: forget parts of an earlier pass.
        online: fits each frame as it comes; it is told stored frames first.
        progress: called with frames done and frames in all, 0 where nobody knows.

    Returns:
        Observations by person, (height, width) of the frames, and the number of frames.

    Raises:
        InputError: ``work`` holds parts of other settings, or frames differ in size.
        AssetError: a part is damaged.
    """
    parts: list[dict[str, Any]] = []
    if work is not None:
        parts = _resume(work, {"format": FORMAT, **settings}, overwrite)
    done, size = 0, (0, 0)
    rows: list[Row] = []
    if parts:
        done, size = parts[-1]["stop"], tuple(parts[-1]["size"])
        follower.state = FollowerState.from_dict(parts[-1]["follower"])
        if online is not None:
            for part in parts:
                online.replay(part["arrays"], size)
    finished = bool(parts) and parts[-1]["last"]

    def report(stop: int) -> None:
        if progress is not None:
            progress(stop, stop if finished else 0 if source.length is None else max(source.length, stop))

    if done:
        report(done)
    fresh, stop = 0, done
    try:
        for frame in () if finished else source.frames(done):
            image = frame.image
            if size not in ((0, 0), image.size):
                raise InputError(
                    f"frame {frame.number} of {source.name} is {image.size}, those before {size}; scale them alike."
                )
            size = image.size
            if online is not None:
                online.begin()
            faces = follower.step(image)
            segment = follower.state.segment
            seen = [_row(follower.model, n, frame.number, segment, face) for n, face in faces.items()]
            if online is not None:
                online.frame(frame, seen, follower.state)
            rows += seen
            fresh, stop = fresh + 1, frame.number + 1
            if fresh == PART:
                parts.append(_part(work, len(parts), rows, stop, size, follower.state, last=False))
                rows, fresh = [], 0
            report(stop)
    except KeyboardInterrupt:  # how a live source ends
        if not source.live:
            raise
    if not stop and not finished:
        raise InputError(f"{source.name} holds no frames.")
    if not finished:
        parts.append(_part(work, len(parts), rows, stop, size, follower.state, last=True))
    return _by_person(parts), size, parts[-1]["stop"]


def crop_side(model: FaceModel, face: Face) -> float:
    """Return the side of the square that the network saw, in pixels."""
    square = model.crop.square(face.box[None].float())[0]
    return float(square[2] - square[0])


def _row(model: FaceModel, person: int, frame: int, segment: int, face: Face) -> Row:
    points = next((n for n in ("vertices", "dense") if n in face.landmarks and n in face.confidence), None)
    if points is None:
        raise InputError(
            f"{model.model_id} finds no dense landmarks with confidences; track with dense-1609."
        )
    sigma = (1 - face.confidence[points]).clamp(min=1e-4) * crop_side(model, face)
    return {
        "number": person,
        "frames": frame,
        "segment": segment,
        "points": face.landmarks[points].float().numpy(),
        "sigma": sigma.float().numpy(),
        "landmarks68": face.landmarks["ibug68"].float().numpy(),
        "boxes": face.box.float().numpy(),
        "steps": 0,
    }


def _part(
    work: Path | None, index: int, rows: list[Row], stop: int, size: Any, state: FollowerState, *, last: bool
) -> dict[str, Any]:
    """Make a part and store it: whole or not at all."""
    arrays = {name: np.stack([np.asarray(r[name]) for r in rows]) for name in FIELDS} if rows else {}
    meta = {"stop": stop, "size": list(size), "follower": state.to_dict(), "last": last}
    # through text and back, so that a pass in one go and one that was cut off see the same numbers
    meta = json.loads(json.dumps(meta))
    if work is not None:
        buffer = io.BytesIO()
        np.savez(buffer, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
        write_bytes(work / f"part-{index:05d}.npz", buffer.getvalue())
    return {**meta, "arrays": arrays}


def _resume(work: Path, settings: dict[str, Any], overwrite: bool) -> list[dict[str, Any]]:
    """Read the parts that are there."""
    mark, paths = work / "settings.json", sorted(work.glob("part-*.npz"))
    before = None
    if mark.is_file():
        try:
            before = json.loads(mark.read_text())
        except ValueError:
            before = None
    wanted = json.loads(json.dumps(settings))
    if paths and not overwrite and before != wanted:
        changed = [k for k in wanted if (before or {}).get(k) != wanted[k]]
        raise InputError(
            f"{work.parent} holds a tracking with other settings ({', '.join(changed) or 'unknown'}); give another "
            "--out, or --overwrite to start over."
        )
    if overwrite or not paths:
        for path in paths:
            path.unlink(missing_ok=True)
        write_json(mark, wanted)
        return []
    parts = []
    for index, path in enumerate(paths):
        if path.name != f"part-{index:05d}.npz":
            break
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in FIELDS if name in archive.files}
                parts.append({**json.loads(str(archive["meta"])), "arrays": arrays})
        except (OSError, ValueError, KeyError) as error:
            raise AssetError(f"{path} is damaged ({error}); start over with --overwrite.") from error
    return parts


def _by_person(parts: list[dict[str, Any]]) -> list[Observations]:
    full = [part["arrays"] for part in parts if part["arrays"]]
    if not full:
        return []
    joined = {name: np.concatenate([arrays[name] for arrays in full]) for name in FIELDS}
    people = []
    for number in np.unique(joined["number"]):
        mine = joined["number"] == number
        people.append(Observations(int(number), *(joined[name][mine] for name in FIELDS[1:])))
    return people


def dense_vertices(head: HeadModel, count: int) -> torch.Tensor:
    """Return the vertices that ``count`` dense landmarks belong to."""
    return torch.arange(count) if count == head.n_vertices else head.topology.subset(count).cpu()


def fitted_columns(head: HeadModel, count: int, subset: int) -> tuple[NDArray[np.bool_], torch.Tensor]:
    """Return which of ``count`` dense landmarks are fitted (count,), and their vertices.

    Those of a named subset of the head, where it has such a one and they are among them; else all.
    """
    ids = dense_vertices(head, count)
    inside = torch.ones(len(ids), dtype=torch.bool)
    if subset in head.topology.subsets:
        chosen = torch.isin(ids, head.topology.subset(subset).cpu())
        inside = chosen if bool(chosen.any()) else inside
    return inside.numpy(), ids[inside]
