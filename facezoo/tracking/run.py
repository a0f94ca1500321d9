"""track: a video in, people with one shape each and a pose and expression a frame out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from facezoo.data.video import FramesLike, open_frames
from facezoo.detect import Detector, load_detector
from facezoo.errors import InputError
from facezoo.heads import load_head
from facezoo.models.predict import FaceModel
from facezoo.tracking.observe import observe
from facezoo.tracking.people import Follower
from facezoo.tracking.solve import SolveOptions, solve_person
from facezoo.tracking.track import Track

# stage ("look" or "fit"), done, in all
Report = Callable[[str, int, int], None]


def track(
    model: FaceModel,
    source: FramesLike,
    *,
    out: str | Path | None = None,
    fps: float | None = None,
    detector: str | Detector = "auto",
    people: int = 4,
    search_every: int = 15,
    patience: int = 15,
    shortest: int = 3,
    K: Tensor | None = None,
    solve: SolveOptions | None = None,
    overwrite: bool = False,
    progress: Report | None = None,
) -> Track:
    """Track the faces of a video.

    First every frame is read by the network, following each face from where it was; then one head a person is fitted
    to all its frames. With ``out`` the first pass is stored as it goes: run again, it goes on where it stopped.

    Args:
        model: finds dense landmarks with confidences, e.g. ``facezoo.load("dense-1609")``.
        source: folder of pictures, video file (extra ``video``), or a list of pictures.
        out: folder for the parts of the first pass, in ``out/.track``.
        fps: frames a second, where the source does not tell.
        detector: finds faces to follow.
        people: most that are followed at once.
        search_every: frames between searches for new people.
        patience: frames that a face that was lost is waited for.
        shortest: tracks of fewer frames are dropped.
        K: (3, 3) intrinsics of the camera; default a focal length of the picture's diagonal.
        solve: how heads are fitted.
        overwrite: start over.
        progress: called with ``"look"`` or ``"fit"``, frames done, and frames in all.

    Raises:
        InputError: no frames, frames of different sizes, a model without dense landmarks, or ``out`` holds a tracking
            with other settings.
        ImageError: a frame cannot be read.
    """
    if people < 1 or search_every < 1 or patience < 0 or shortest < 1:
        raise InputError("people, search_every and shortest must be at least 1 and patience at least 0.")
    options = solve or SolveOptions()
    frames, finder = open_frames(source, fps), load_detector(detector)
    follower = Follower(model, finder, most=people, search_every=search_every, patience=patience)
    settings = {
        "model": model.model_id,
        "weights": model.weights_digest(),
        "detector": finder.name,
        "frames": frames.key,
        "follow": [people, search_every, patience],
    }
    seen, size, count = observe(
        follower,
        frames,
        None if out is None else Path(out).expanduser() / ".track",
        settings,
        overwrite=overwrite,
        progress=None if progress is None else lambda done, total: progress("look", done, total),
    )
    head = getattr(model, "head", None) or load_head(getattr(model.config, "head", "open-v1"))
    seen = [person for person in seen if len(person.frames) >= shortest]
    total, before, found = sum(len(person.frames) for person in seen), 0, []
    for person in seen:
        offset = before

        def report(done: int, of: int, offset: int = offset) -> None:
            if progress is not None:
                progress("fit", min(offset + done, total), total)

        found.append(solve_person(person, head.cpu(), size, frames.fps, options, K=K, progress=report))
        before += len(person.frames)
    return Track(found, count, size, frames.fps, frames.name, model.model_id, options.mode)
