"""Measure tracking: online frames a second with what they consist of, and the joint solve of 100 frames."""

from __future__ import annotations

import platform
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from facezoo.data.images import load_image
from facezoo.data.video import Frame, PictureFrames
from facezoo.detect import load_detector
from facezoo.errors import InputError
from facezoo.heads import load_head
from facezoo.models.load import load
from facezoo.tracking.observe import Row, observe
from facezoo.tracking.online import Online
from facezoo.tracking.options import SolveOptions
from facezoo.tracking.people import Follower, FollowerState
from facezoo.tracking.solve import solve_person

_PAN, _ZOOM = 0.06, 0.04  # shares of the picture's width that it moves and is zoomed by
_SEARCH_EVERY = 15
Spent = tuple[float, float]  # seconds by the clock, and of the processor


@dataclass
class _Timed(Online):
    """An online fit that keeps what following and fitting took, frame by frame."""

    follow: list[Spent] = field(default_factory=list)
    fit: list[Spent] = field(default_factory=list)
    searched: list[bool] = field(default_factory=list)

    def begin(self) -> None:
        self._began = _now()

    def frame(self, frame: Frame, rows: list[Row], state: FollowerState) -> None:
        followed = _now()
        self.follow.append(_since(self._began, followed))
        super().frame(frame, rows, state)
        self.fit.append(_since(followed, _now()))
        self.searched.append(state.since_search == 0)


def bench_track(
    photo: Path, model: str = "dense-1609", device: str = "auto", frames: int = 100, threads: int | None = 2
) -> dict[str, Any]:
    """Track a photo that pans and zooms, with one face, online; then fit the same frames jointly.

    Args:
        photo: a picture with one face.
        model: name or folder.
        device: of the network, as of :func:`facezoo.models.load.load`; heads are fitted on the CPU.
        frames: how many.
        threads: torch threads during the measurement; None leaves the setting alone.

    Returns:
        Settings; ``stages``, a row each with median milliseconds a frame by the clock and of the processor (of all
        threads); ``online_frames_per_second`` with everything but reading the pictures, and
        ``offline_solve_s_per_100_frames``, both by the clock and as ``_cpu``.

    Raises:
        InputError: fewer than three frames, or nobody in the picture.
    """
    if frames < 3:
        raise InputError(f"frames must be at least 3, got {frames}.")
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        return _measure(photo, model, device, frames)
    finally:
        torch.set_num_threads(before)


def _measure(photo: Path, model: str, device: str, frames: int) -> dict[str, Any]:
    network, detector = load(model, device=device), load_detector()
    head = getattr(network, "head", None) or load_head("open-v1")
    source = PictureFrames(_moving(photo, frames), "moving photo")
    size = (int(source.pictures[0].shape[0]), int(source.pictures[0].shape[1]))
    online = SolveOptions(mode="online")
    timed = _Timed(head.cpu(), source.fps, online)
    follower = Follower(network, detector, most=4, search_every=_SEARCH_EVERY, patience=15)
    network.predict(source.pictures[0], detector=detector, fit=False)  # warm
    seen, _, _ = observe(follower, source, None, {}, online=timed)
    if not seen:
        raise InputError(f"{photo} shows nobody that {network.model_id} can follow.")
    began = _now()
    found = solve_person(seen[0], head, size, source.fps, SolveOptions())
    solve = _since(began, _now())
    rows = [_row("detect", [_detect(detector, source.pictures[0]) for _ in range(5)])]
    quiet = [spent for spent, searched in zip(timed.follow, timed.searched, strict=True) if not searched]
    loud = [spent for spent, searched in zip(timed.follow, timed.searched, strict=True) if searched]
    rows += [_row("box and network", quiet)] if quiet else []
    rows += [_row(f"the same with a search (every {_SEARCH_EVERY} frames)", loud)] if loud else []
    rows.append(_row(f"fit ({online.steps} steps, window {online.window})", timed.fit))
    total = _total(timed)
    return {
        "model": network.model_id,
        "device": str(network.device),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "frames": frames,
        "people": len(seen),
        "points_fitted": int(timed.fits[seen[0].number].ids.numel()),
        "stages": rows,
        "online_frames_per_second": round(frames / total[0], 2),
        "online_frames_per_second_cpu": round(frames / total[1], 2),
        "offline_solve_s_per_100_frames": round(100 * solve[0] / len(found), 3),
        "offline_solve_s_per_100_frames_cpu": round(100 * solve[1] / len(found), 3),
    }


def _moving(photo: Path, frames: int) -> list[np.ndarray]:
    """Return a photo seen by a camera that pans and zooms."""
    whole = Image.fromarray(load_image(photo).pixels)
    width, height = whole.size
    pictures = []
    for i in range(frames):
        x = _PAN * width * (0.5 + 0.5 * np.sin(0.11 * i))
        inset = _ZOOM * width * (0.5 + 0.5 * np.sin(0.07 * i))
        box = (x, inset, x + width * (1 - _PAN) - inset, height - inset)
        pictures.append(np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR, box=box)))
    return pictures


def _detect(detector: Any, picture: np.ndarray) -> Spent:
    began = _now()
    detector.detect([picture])
    return _since(began, _now())


def _row(stage: str, spent: list[Spent]) -> dict[str, Any]:
    wall, cpu = (round(1000 * statistics.median(values), 1) for values in zip(*spent, strict=True))
    return {"stage": stage, "ms": wall, "cpu_ms": cpu, "times": len(spent)}


def _total(timed: _Timed) -> Spent:
    spent = [*timed.follow, *timed.fit]
    return sum(wall for wall, _ in spent), sum(cpu for _, cpu in spent)


def _now() -> Spent:
    return time.perf_counter(), time.process_time()


def _since(began: Spent, ended: Spent) -> Spent:
    return ended[0] - began[0], ended[1] - began[1]
