"""``facezoo track``: a video or a folder of frames in; one head a person with its motion out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from facezoo.errors import InputError
from facezoo.mesh.io.atomic import write_bytes

_TITLES = {"look": "reading frames", "fit": "fitting heads", "draw": "drawing"}


def run(args: argparse.Namespace) -> int:
    """Track, write every person, and draw the overlays.

    Returns:
        0, or 1 when nobody was found.
    """
    # Here: importing torch takes longer than printing the help.
    from facezoo.data.video import open_frames
    from facezoo.geometry.camera import Camera
    from facezoo.models.load import load
    from facezoo.tracking import SolveOptions, track
    from facezoo.tracking.export import write_overlays

    frames, out = open_frames(args.input, args.fps), Path(args.out).expanduser()
    if out.resolve() == Path(args.input).expanduser().resolve():
        raise InputError(f"--out is the folder of frames itself; give another, e.g. --out {out / 'track'}.")
    bar = Bar(quiet=args.json)
    K, focal = None, "estimate"
    if args.focal is not None:
        first = next(iter(frames.frames()))
        K, focal = Camera.default_K(*first.size, focal=args.focal), "fixed"
    options = SolveOptions(
        mode="online" if args.online else "offline", focal="fixed" if focal == "fixed" else "estimate"
    )
    found = track(
        load(args.model, device=args.device),
        frames,
        out=out,
        detector=args.detector,
        people=args.people,
        K=K,
        solve=options,
        overwrite=args.overwrite,
        progress=bar,
    )
    written = []
    for person in found:
        for suffix in (".npz", ".alignment.npz", ".glb"):
            written.append(person.save(out / f"person{person.number}{suffix}"))
    if not args.no_overlay and len(found):
        written += write_overlays(found, frames, out / "overlay", progress=lambda n, of: bar("draw", n, of))
    bar.close()
    summary = describe(found)
    write_bytes(out / "track.json", (json.dumps(summary, indent=1) + "\n").encode())
    if args.json:
        print(json.dumps(summary, indent=1))
    else:
        print(found)
        print(f"wrote {len(written)} files into {out}")
    return 0 if len(found) else 1


def describe(found: Any) -> dict[str, Any]:
    """Return a track as JSON values, without its arrays."""
    return {
        "source": found.source,
        "model": found.model,
        "mode": found.mode,
        "frames": found.frames,
        "fps": found.fps,
        "image_size": list(found.image_size),
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

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` frames of a stage are done."""
        if self.quiet:
            return
        from tqdm import tqdm

        if stage != self.stage or self.bar is None:
            self.close()
            self.stage, self.bar = (
                stage,
                tqdm(total=total, desc=_TITLES[stage], unit="frame", file=sys.stderr),
            )
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """End the current bar."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None
