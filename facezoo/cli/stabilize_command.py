"""``facezoo stabilize``: hold the skull of a sequence of meshes still; meshes, motion and pictures are written."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from facezoo.errors import InputError
from facezoo.mesh.io.atomic import write_bytes, write_json
from facezoo.mesh.io.sequence import MeshSequence, read_sequence, write_sequence, write_sequence_npz
from facezoo.models.load import load
from facezoo.models.stabilizer.predict import SkullStabilizer
from facezoo.models.stabilizer.stabilize import LIMIT, REST_LIMIT, Stabilized
from facezoo.viz.save import png_bytes
from facezoo.viz.stabilized import heat_map, strip

_SINGLE = "npz-sequence"


def run(args: argparse.Namespace) -> int:
    """Stabilise and write; return 0."""
    sequence = read_sequence(args.sequence)
    model = load(args.model, device=args.device)
    if not isinstance(model, SkullStabilizer):
        raise InputError(
            f"{args.model!r} does not stabilise meshes; `facezoo list --task stabilization` names what does"
        )
    result = model.stabilize(
        sequence, _reference(args.reference, sequence), anchors=args.anchors, smooth=args.smooth
    )
    moved = sequence.moved(result.vertices.numpy())
    out = Path(args.out)
    if args.format == _SINGLE:
        write_sequence_npz(out / "stabilized.npz", moved)
    else:
        write_sequence(out / "meshes", moved, args.format)
    motion = describe(sequence, result, model.model_id)
    write_json(out / "motion.json", motion)
    if len(sequence) > 1 and not args.no_pictures:
        faces = sequence.mesh.faces
        write_bytes(out / "before_after.png", png_bytes(strip(sequence.vertices, moved.vertices, faces)))
        write_bytes(out / "heat_map.png", png_bytes(heat_map(sequence.vertices, moved.vertices, faces)))
    if args.json:
        print(json.dumps(motion, indent=1))
        return 0
    doubtful = [frame["name"] for frame in motion["frames"] if not frame["trusted"]]
    print(f"{len(sequence)} frames, reference {motion['reference']}, written to {out}")
    print(
        f"motion taken out: up to {motion['largest_mm']:.1f} mm and {motion['largest_degrees']:.1f} degrees"
    )
    if doubtful:
        print(
            f"{len(doubtful)} frames not to be trusted (estimates {LIMIT} mm apart, or the skull's skin "
            f"{REST_LIMIT} mm off): {', '.join(doubtful[:10])}"
        )
    return 0


def describe(sequence: MeshSequence, result: Stabilized, model: str) -> dict[str, Any]:
    """Describe what was taken out: a matrix a frame, as plain numbers.

    ``matrix`` moves a frame's vertices (columns) to the stabilised ones; its inverse is the motion of the head.
    """
    matrices, angles = result.transforms.matrix.double(), result.transforms.angle.rad2deg()
    middle = np.concatenate([sequence.vertices.mean(1), np.ones((len(sequence), 1))], 1)
    shifts = 1e3 * np.linalg.norm(
        np.einsum("nij,nj->ni", matrices.numpy(), middle)[:, :3] - middle[:, :3], axis=1
    )
    frames = []
    for i, name in enumerate(sequence.names):
        score = float(result.consistency[i])
        frames.append(
            {
                "name": name,
                "matrix": [[round(float(v), 9) for v in row] for row in matrices[i]],
                "degrees": round(float(angles[i]), 4),
                "mm": round(float(shifts[i]), 4),
                "consistency_mm": None if np.isnan(score) else round(score, 4),
                "rest_mm": round(float(result.rest[i]), 4),
                "trusted": bool(result.trusted[i]),
            }
        )
    reference = "a mesh of its own" if result.reference is None else sequence.names[result.reference]
    return {
        "model": model,
        "reference": reference,
        "anchors": [sequence.names[i] for i in result.anchors],
        "largest_mm": float(shifts.max()),
        "largest_degrees": float(angles.max()),
        "frames": frames,
    }


def _reference(given: str, sequence: MeshSequence) -> int | str | Path:
    """Read ``--reference``: medoid, a frame's name, its number, or a mesh file."""
    if given == "medoid":
        return given
    if given in sequence.names:
        return sequence.names.index(given)
    if given.lstrip("-").isdigit():
        return int(given)
    if Path(given).suffix and Path(given).is_file():
        return Path(given)
    raise InputError(
        f"--reference {given!r} is no frame ({sequence.names[0]} ... {sequence.names[-1]}), no number and no mesh file"
    )
