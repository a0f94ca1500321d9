"""Measure tracking on synthetic videos: SSME over horizons, jitter, drift, for single pictures and joint fits.

python -m facezoo.evaluation.tracking --model dense-1609 --seeds 2 --frames 45
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from facezoo.heads.model import HeadModel
from facezoo.metrics.ssme import SSME, Surface, ssme
from facezoo.models.load import load
from facezoo.models.predict import FaceModel
from facezoo.synth.engine import TEST_SEEDS
from facezoo.synth.sequence import KINDS, Video, render_video
from facezoo.tracking import SolveOptions, track
from facezoo.tracking.solve import solve_person
from facezoo.tracking.track import PersonTrack

# frames ahead, as far as a video is long
HORIZONS = (1, 2, 3, 5, 10, 15, 20, 30)
_SMOOTH = 1.5  # frames, of the smoothed single fits
_REGIONS = {"ear": ("left_ear", "right_ear"), "eye": ("eye_region",), "mouth": ("lips",), "nose": ("nose",)}


def evaluate_tracking(
    model: FaceModel,
    seeds: Sequence[int],
    kinds: Sequence[str] = KINDS,
    frames: int = 45,
    size: int = 176,
    solve: SolveOptions | None = None,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Track synthetic videos in several ways and measure each.

    Args:
        model: finds dense landmarks.
        seeds: people, from the engine's test seeds.
        kinds: of motion, see :func:`facezoo.synth.sequence.render_video`.
        frames, size: of each video.
        solve: options of the joint fits.
        report: called with a line about each video.

    Returns:
        ``rows``: for each way its mean SSME (pixels, and percent of the face's size), jitter (horizon 1), drift (the
        longest), coverage, regions, and ``curve`` by horizon; and the settings.
    """
    found: dict[str, list[SSME]] = {}
    horizons = [h for h in HORIZONS if h < frames]
    lost = 0
    for seed in seeds:
        for kind in kinds:
            video = render_video(seed, kind, frames, size)
            ways = _track(model, video, solve or SolveOptions())
            if ways is None:
                lost += 1
                continue
            head, tracks, valid = ways
            regions = _regions(head)
            truth = Surface(video.vertices, head.topology.faces, video.K)
            for name, vertices in tracks.items():
                seen = Surface(vertices[0], head.topology.faces, vertices[1])
                got = ssme(truth, seen, (size, size), horizons, regions, valid=valid)
                found.setdefault(name, []).append(got)
                if report is not None:
                    report(f"{seed} {kind:9s} {name:18s} SSME {got.mean:.3f} px, coverage {got.coverage:.3f}")
    return {
        "model": model.model_id,
        "seeds": list(seeds),
        "kinds": list(kinds),
        "frames": frames,
        "size": size,
        "horizons": horizons,
        "videos": len(seeds) * len(kinds),
        "lost": lost,
        "rows": {name: _average(values) for name, values in found.items()},
    }


def _track(
    model: FaceModel, video: Video, options: SolveOptions
) -> tuple[HeadModel, dict[str, tuple[Tensor, Tensor]], Tensor] | None:
    """Return the vertices in camera axes (T, V, 3) with their K, for each way; None when the face was not followed."""
    images = list(video.images)
    # These frames are crops whose principal point lies anywhere: every way is told the camera. Every way reads the same
    # landmarks, and a loose portrait needs no detector: what is measured is the following and the fit.
    joint = track(
        model,
        images,
        fps=video.fps,
        detector="whole",
        people=1,
        K=video.K,
        solve=replace(options, focal="fixed"),
    )
    if len(joint) != 1 or len(joint[0]) < 0.9 * len(images):
        return None
    person = joint[0]
    rows = torch.from_numpy(person.frames)
    valid = torch.zeros(len(images), dtype=torch.bool)
    valid[rows] = True
    causal = solve_person(
        person.observations, person.head, person.image_size, video.fps,
        replace(options, mode="online", focal="fixed"), K=video.K,
    )  # fmt: skip
    single = solve_single(person, video.K, options)
    smooth = torch.from_numpy(gaussian_filter1d(single.numpy(), _SMOOTH, axis=0, mode="nearest"))

    def whole(vertices: Tensor) -> tuple[Tensor, Tensor]:
        out = vertices[:1].repeat(len(images), 1, 1)
        out[rows] = vertices.float()
        return out, video.K

    def camera(track: PersonTrack) -> Tensor:
        return track.cameras.to_camera(track.vertices())

    ways = {
        "single": whole(single),
        "single, smoothed": whole(smooth),
        "online": whole(camera(causal)),
        "offline": whole(camera(person)),
    }
    return person.head, ways, valid


def solve_single(person: PersonTrack, K: Tensor, options: SolveOptions) -> Tensor:
    """Fit every frame of a track alone, as single pictures; return vertices (T, V, 3) in camera axes.

    Frames that were not seen repeat the one before.
    """
    from facezoo.fitting import Prior, fit

    seen = person.observations
    result = fit(
        person.head,
        torch.from_numpy(seen.points),
        torch.from_numpy(seen.sigma),
        person.vertex_ids,
        K,
        subset=options.subset if options.subset in person.head.topology.subsets else None,
        prior=Prior(weight=options.prior_weight),
        iterations=20,
    )
    vertices = person.head(result.params).vertices @ result.R.mT + result.t[:, None]
    order = torch.searchsorted(torch.from_numpy(seen.frames), torch.from_numpy(person.frames), right=True) - 1
    return vertices[order]


def _regions(head: HeadModel) -> dict[str, Tensor]:
    masks = head.topology.masks
    out = {"face": head.topology.subset(1609)}
    for name, parts in _REGIONS.items():
        out[name] = torch.cat([masks[part] for part in parts if part in masks])
    return {name: ids for name, ids in out.items() if len(ids)}


def _average(values: list[SSME]) -> dict[str, Any]:
    def mean(numbers: Sequence[float]) -> float:
        finite = [v for v in numbers if v == v]
        return round(sum(finite) / max(len(finite), 1), 4)

    return {
        "ssme_px": mean([v.mean for v in values]),
        "ssme_percent": mean([v.percent for v in values]),
        "jitter_px": mean([v.jitter for v in values]),
        "drift_px": mean([v.drift for v in values]),
        "coverage": mean([v.coverage for v in values]),
        "regions_px": {name: mean([v.regions[name] for v in values]) for name in values[0].regions},
        "curve_px": [mean([v.curve[i] for v in values]) for i in range(len(values[0].curve))],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m facezoo.evaluation.tracking")
    parser.add_argument("--model", default="dense-1609")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="people (default: %(default)s)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=45, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    seeds = [TEST_SEEDS.start + i for i in range(args.seeds)]
    say = None if args.json else (lambda line: print(line, flush=True))
    found = evaluate_tracking(load(args.model), seeds, args.kinds.split(","), args.frames, report=say)
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    print(
        f"\n{found['videos']} videos of {args.frames} frames, {found['lost']} lost; pixels of {found['size']} px frames"
    )
    print(
        f"{'':18s} {'SSME':>7s} {'jitter':>7s} {'drift':>7s} {'cover':>7s}  "
        + "  ".join(next(iter(found["rows"].values()))["regions_px"])
    )
    for name, row in found["rows"].items():
        numbers = [row[key] for key in ("ssme_px", "jitter_px", "drift_px", "coverage")]
        parts = "  ".join(f"{v:.2f}" for v in row["regions_px"].values())
        print(f"{name:18s} " + " ".join(f"{v:7.3f}" for v in numbers) + f"  {parts}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
