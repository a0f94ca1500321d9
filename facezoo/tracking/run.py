"""track: a video in, people with one shape each and a pose and expression a frame out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from facezoo.data.video import Frame, FramesLike, FrameSource, open_frames
from facezoo.detect import Detector, load_detector
from facezoo.errors import InputError
from facezoo.heads import load_head
from facezoo.heads.model import HeadModel
from facezoo.models.predict import FaceModel
from facezoo.tracking.budget import Budget
from facezoo.tracking.observe import Observations, observe
from facezoo.tracking.online import Online
from facezoo.tracking.options import SolveOptions
from facezoo.tracking.people import Follower
from facezoo.tracking.rig import RigLike, read_rig
from facezoo.tracking.solve import from_rows, solve_person
from facezoo.tracking.track import Track
from facezoo.tracking.views import solve_views
from facezoo.types import Face

# stage ("look", "look 2" ... or "fit"), frames done, frames in all (0: nobody knows)
Report = Callable[[str, int, int], None]


def track(
    model: FaceModel,
    source: FramesLike | Sequence[FramesLike],
    *,
    out: str | Path | None = None,
    fps: float | None = None,
    count: int | None = None,
    detector: str | Detector = "auto",
    people: int = 4,
    search_every: int = 15,
    patience: int = 15,
    shortest: int = 3,
    K: Tensor | float | None = None,
    cameras: RigLike | None = None,
    solve: SolveOptions | None = None,
    overwrite: bool = False,
    progress: Report | None = None,
    each: Callable[[Frame, list[Face]], None] | None = None,
) -> Track:
    """Track the faces of a video, of a webcam, or of several videos of the same people.

    Every frame is read by the network, following each face from where it was, and one head a person is fitted to
    all its frames: afterwards and jointly (offline), or frame by frame as they come (online). With ``out`` what the
    network saw is stored as it goes: run again, it goes on where it stopped, with the same result.

    Args:
        model: finds dense landmarks with confidences, e.g. ``facezoo.load("dense-1609")``.
        source: folder of pictures, video file or ``"webcam"`` (both the extra ``video``), or a list of pictures; with
            ``cameras`` a list of such, one a camera, taken at the same times.
        out: folder for what the network saw, in ``out/.track``.
        fps: frames a second, where the source does not tell.
        count: stop after so many frames.
        detector: finds faces to follow.
        people: most that are followed at once.
        search_every: frames between searches for new people.
        patience: frames that a face that was lost is waited for.
        shortest: tracks of fewer frames are dropped.
        K: (3, 3) intrinsics of the camera, or its focal length in pixels; default the picture's diagonal.
        cameras: calibration of several cameras (:func:`facezoo.tracking.rig.read_rig`), or ``"uncalibrated"``.
        solve: how heads are fitted; default offline, for a webcam online.
        overwrite: start over.
        progress: called with ``"look"`` or ``"fit"``, frames done, and frames in all (0 where nobody knows).
        each: online: called with every frame and its faces.

    Raises:
        InputError: no frames, frames of different sizes, a model without dense landmarks, or ``out`` holds a tracking
            with other settings.
        ImageError: a frame cannot be read.
    """
    if people < 1 or search_every < 1 or patience < 0 or shortest < 1:
        raise InputError("people, search_every and shortest must be at least 1 and patience at least 0.")
    finder = load_detector(detector)
    head = (getattr(model, "head", None) or load_head(getattr(model.config, "head", "open-v1"))).cpu()
    follow = (people, search_every, patience)

    def look(
        stage: str, frames: FrameSource, options: SolveOptions, work: Path | None, online: Online | None
    ) -> tuple[list[Observations], tuple[int, int], int]:
        settings: dict[str, Any] = {
            "model": model.model_id,
            "weights": model.weights_digest(),
            "detector": finder.name,
            "frames": frames.key,
            "follow": list(follow),
        }
        if options.budget is not None:  # then what is seen depends on the time that the fit took
            settings["budget"] = [options.budget, options.window, options.steps, options.subset]
        follower = Follower(
            model,
            finder,
            most=people,
            search_every=search_every,
            patience=patience,
            budget=None if online is None else online.budget,
        )
        seen, size, total = observe(
            follower,
            frames,
            work,
            settings,
            overwrite=overwrite,
            online=online,
            progress=None if progress is None else lambda done, of: progress(stage, done, of),
        )
        return [person for person in seen if len(person) >= shortest], size, total

    def report(done: int, of: int) -> None:
        if progress is not None:
            progress("fit", done, of)

    work = None if out is None else Path(out).expanduser() / ".track"
    if cameras is not None:
        if isinstance(source, str | Path) or not isinstance(source, Sequence) or K is not None:
            raise InputError("with cameras, give a list of videos, one a camera, and no K.")
        sources = [open_frames(one, fps, count) for one in source]
        return _several(model, sources, cameras, look, work, head, solve or SolveOptions(), report)
    frames = open_frames(source, fps, count)
    options = solve or SolveOptions(mode="online" if frames.live else "offline")
    if options.mode == "offline":
        if each is not None:
            raise InputError("each frame is known only in online mode: SolveOptions(mode='online').")
        seen, size, total = look("look", frames, options, work, None)
        every, before, found = sum(len(person) for person in seen), 0, []
        for person in seen:
            offset = before

            def part(done: int, of: int, offset: int = offset) -> None:
                report(min(offset + done, every), every)

            found.append(solve_person(person, head, size, frames.fps, options, K=K, progress=part))
            before += len(person)
    else:
        budget = None if options.budget is None else Budget(options.budget)
        online = Online(head, frames.fps, options, K, budget, each)
        seen, size, total = look("look", frames, options, work, online)
        found = [from_rows(online.fits[p.number].rows, p, head, size, frames.fps) for p in seen]
    return Track(found, total, size, frames.fps, frames.name, model.model_id, options.mode)


def _several(
    model: FaceModel,
    sources: Sequence[FrameSource],
    cameras: RigLike,
    look: Callable[..., tuple[list[Observations], tuple[int, int], int]],
    work: Path | None,
    head: HeadModel,
    options: SolveOptions,
    report: Callable[[int, int], None],
) -> Track:
    """Look at every video, then fit jointly."""
    names = [Path(source.name).stem for source in sources]
    if len(set(names)) < len(names):
        names = [f"view{number}" for number in range(1, len(names) + 1)]
    if len(sources) < 2:
        raise InputError(f"several cameras need several videos, got {', '.join(names) or 'none'}.")
    if options.mode == "online" or any(source.live for source in sources):
        raise InputError(
            "several cameras are fitted jointly, after all frames are there: leave out online mode."
        )
    if len({source.fps for source in sources}) > 1:
        rates = ", ".join(f"{source.fps:g}" for source in sources)
        raise InputError(f"the videos must have one rate, got {rates} frames a second; if they do, give fps.")
    rig = read_rig(cameras, names)
    seen, sizes, totals = [], [], []
    for view, source in enumerate(sources):
        stage = f"look {view + 1}" if view else "look"
        people, size, total = look(stage, source, options, None if work is None else work / names[view], None)
        seen.append(people)
        sizes.append(size)
        totals.append(total)
    found = solve_views(seen, rig, sizes, head, sources[0].fps, options, report)
    return Track(
        found, max(totals), sizes[0], sources[0].fps, ", ".join(s.name for s in sources), model.model_id, options.mode,
        tuple(names),
    )  # fmt: skip
