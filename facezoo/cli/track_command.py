"""``facezoo track``: a video, a webcam or a folder of frames in; one head a person with its motion out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facezoo.errors import InputError
from facezoo.mesh.io.atomic import write_json

if TYPE_CHECKING:
    from facezoo.data.video import Frame, FrameSource
    from facezoo.tracking import SolveOptions, Track
    from facezoo.types import Face

_TITLES = {"look": "reading frames", "fit": "fitting heads", "draw": "drawing"}
_SUFFIXES = (".npz", ".alignment.npz", ".glb", ".usda")


def run(args: argparse.Namespace) -> int:
    """Track, write every person, and draw the overlays.

    Returns:
        0, or 1 when nobody was found.
    """
    # Here: importing torch takes longer than printing the help.
    from facezoo.data.video import open_frames
    from facezoo.models.load import load
    from facezoo.tracking import track

    out = Path(args.out).expanduser()
    _check(args, out)
    sources = [open_frames(one, args.fps, args.frames) for one in args.inputs]
    live = sources[0].live
    with ExitStack() as stack:
        bar = stack.enter_context(Bar(quiet=args.json))
        each = _shown(args, sources[0], out, stack) if live else None
        found = track(
            load(args.model, device=args.device),
            sources[0] if args.cameras is None else sources,
            out=out,
            detector=args.detector,
            people=args.people,
            K=args.focal,
            cameras=args.cameras,
            solve=_options(args, live=live),
            overwrite=args.overwrite,
            progress=bar,
            each=each,
        )
        written = [
            person.save(out / f"person{person.number}{suffix}") for person in found for suffix in _SUFFIXES
        ]
        if not live:
            written += _draw(args, found, sources, out, bar)
    summary = describe(found)
    write_json(out / "track.json", summary)
    if args.json:
        print(json.dumps(summary, indent=1))
    else:
        print(found)
        print(f"wrote {len(written)} files into {out}")
    return 0 if len(found) else 1


def _check(args: argparse.Namespace, out: Path) -> None:
    """Refuse what cannot work before a model is loaded."""
    if any(out.resolve() == Path(one).expanduser().resolve() for one in args.inputs):
        raise InputError(f"--out is the folder of frames itself; give another, e.g. --out {out / 'track'}.")
    if len(args.inputs) > 1 and args.cameras is None:
        raise InputError(
            "several videos are several cameras: add --cameras FILE with their calibration, or "
            "--cameras uncalibrated."
        )
    if args.cameras is not None and args.focal is not None:
        raise InputError("--focal is of one camera; give K of each in the file of --cameras.")
    if args.budget is not None and not (args.online or args.inputs[0].startswith("webcam")):
        raise InputError("--budget is a time a frame of online mode; add --online.")


def _options(args: argparse.Namespace, *, live: bool) -> SolveOptions:
    from facezoo.tracking import SolveOptions

    return SolveOptions(
        mode="online" if args.online or live else "offline",
        focal="fixed" if args.focal is not None else "estimate",
        budget=None if args.budget is None else args.budget / 1000,
    )


def _overlay_path(args: argparse.Namespace, out: Path, name: str = "overlay") -> Path | None:
    """Return where overlays go: an MP4 where it can be written, else a folder."""
    from facezoo.tracking.overlays import can_write_video

    kind = args.overlay
    if kind == "auto":
        kind = "mp4" if can_write_video() else "png"
    return None if kind == "none" else out / (f"{name}.mp4" if kind == "mp4" else name)


def _draw(
    args: argparse.Namespace, found: Track, sources: list[FrameSource], out: Path, bar: Bar
) -> list[Path]:
    """Draw the overlays of every camera."""
    from facezoo.tracking.overlays import write_overlays

    written: list[Path] = []
    for view, source in enumerate(sources if len(found) else []):
        name = f"overlay-{found.views[view]}" if found.views else "overlay"
        path = _overlay_path(args, out, name)
        if path is not None:
            stage = "draw" if view == 0 else f"draw {view + 1}"

            def report(done: int, of: int, stage: str = stage) -> None:
                bar(stage, done, of)

            written += write_overlays(found, source, path, progress=report, view=view)
    return written


def _shown(
    args: argparse.Namespace, source: FrameSource, out: Path, stack: ExitStack
) -> Callable[[Frame, list[Face]], None]:
    """Return what shows a live frame: in a window where there is a display, else as overlays."""
    from facezoo.tracking.overlays import OverlayWriter
    from facezoo.tracking.preview import Preview, has_display
    from facezoo.viz.overlay import draw_faces

    preview = Preview(f"facezoo: {source.name}") if has_display() else None
    path = None if preview is not None and args.overlay == "auto" else _overlay_path(args, out)
    writer = None if path is None else stack.enter_context(OverlayWriter(path, source.fps))
    if preview is not None:
        stack.callback(preview.close)

    def each(frame: Frame, faces: list[Face]) -> None:
        if preview is None and writer is None:
            return
        picture = draw_faces(frame.image, faces, "surface", scale=1)
        if writer is not None:
            writer.add(frame.number, picture)
        if preview is not None:
            preview.show(picture)

    return each


def describe(found: Any) -> dict[str, Any]:
    """Return a track as JSON values, without its arrays."""
    return {
        "source": found.source,
        "model": found.model,
        "mode": found.mode,
        "frames": found.frames,
        "fps": found.fps,
        "image_size": list(found.image_size),
        "views": list(found.views),
        "people": [
            {
                "number": p.number,
                "first": int(p.frames[0]),
                "last": int(p.frames[-1]),
                "seen": int(p.seen.sum()),
                "segments": len(set(p.segment.tolist())),
                "rms_px": round(float(p.rms.nanmean()), 4),
                "focal_px": round(float(p.K[-1, 0, 0]), 2),
                "converged": bool(p.converged),
            }
            for p in found
        ],
    }


class Bar:
    """A progress bar for each stage, with the time left, on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet, self.stage = quiet, ""
        self.bar: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` frames of a stage are done; 0 in all is unknown.

        What was done before the first call (by an earlier run) does not count for the time that is left.
        """
        if self.quiet:
            return
        from tqdm import tqdm

        if stage != self.stage or self.bar is None:
            self.close()
            kind, _, number = stage.partition(" ")
            title = _TITLES[kind] + (f" ({number})" if number else "")
            first = done if kind == "look" and done > 1 else 0
            self.stage = stage
            self.bar = tqdm(total=total or None, initial=first, desc=title, unit="frame", file=sys.stderr)
        self.bar.total = total or None
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """End the current bar."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None
