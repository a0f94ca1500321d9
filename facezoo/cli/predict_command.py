"""``facezoo predict``: pictures in; overlays, meshes and numbers out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from facezoo.cli import print_error
from facezoo.data.images import LoadedImage, list_images, load_image
from facezoo.errors import FacezooError, InputError
from facezoo.models.load import load
from facezoo.types import Prediction

_LISTED = 50  # failures named on the screen; the manifest names all


def run(args: argparse.Namespace) -> int:
    """Predict every input; one that cannot be read is told of and passed over, and the exit code is 2.

    One folder with an output folder is a run of its own, see :func:`_run_folder`: there the exit code is 1.
    """
    formats = [name.strip() for name in args.format.split(",") if name.strip()]
    if len(args.inputs) == 1 and args.out and not args.json and Path(args.inputs[0]).expanduser().is_dir():
        return _run_folder(args, formats)
    if args.devices is not None or args.num_nodes is not None or args.workers is not None or args.overwrite:
        raise InputError(
            "--devices, --num-nodes, --workers and --overwrite are for one folder of pictures with --out DIR "
            "and without --json."
        )
    paths = _expand(args.inputs)
    boxes = _read_boxes(args.boxes, paths)
    model = load(args.model, device=args.device)
    stems = _stems(paths)
    failed, results = 0, []
    for chunk in _chunks(paths, args.batch_size):
        images: dict[Path, LoadedImage] = {}
        for path in chunk:
            try:
                images[path] = load_image(path)
            except FacezooError as error:
                print_error(error)
                failed += 1
        found = model.predict(
            list(images.values()),
            boxes=[boxes.get(path) for path in images],
            detector=args.detector,
            batch_size=args.batch_size,
            fit=not args.no_fit,
        )
        for path, prediction in zip(images, found, strict=True):
            files = prediction.save(args.out, stems[path], formats) if args.out else []
            if args.json:
                results.append(prediction.to_dict())
            else:
                _report(prediction, files)
    if args.json:
        print(json.dumps(results if len(paths) > 1 else results[0] if results else [], indent=1))
    return 2 if failed else 0


def _run_folder(args: argparse.Namespace, formats: list[str]) -> int:
    """Predict a folder and its sub-folders, going on where an earlier run stopped; list what failed at the end."""
    # Here: importing Lightning takes seconds that a photo need not pay.
    from facezoo.predicting.folder import FolderOptions, predict_folder
    from facezoo.predicting.progress import duration

    options = FolderOptions(
        formats=tuple(formats),
        detector=args.detector,
        fit=not args.no_fit,
        batch_size=args.batch_size,
        boxes={} if args.boxes is None else _box_table(Path(args.boxes).expanduser()),
        device=args.device,
        devices=args.devices,
        nodes=args.num_nodes,
        workers=args.workers or 0,
        overwrite=args.overwrite,
    )
    folder, out = Path(args.inputs[0]).expanduser(), Path(args.out).expanduser()
    done = predict_folder(load(args.model, device="cpu"), folder, out, options, _report)
    if done is None:
        return 0  # not the first process: the first one tells
    before = f", {done.before} were finished before" if done.before else ""
    print(
        f"{done.predicted} of {done.pictures} pictures predicted in {duration(done.seconds)}{before}, "
        f"{done.faces} faces, {len(done.failed)} failed; see {done.manifest}"
    )
    sys.stdout.flush()
    for name, reason in done.failed[:_LISTED]:
        print(f"facezoo: {_printable(reason if name in reason else f'{name}: {reason}')}", file=sys.stderr)
    if len(done.failed) > _LISTED:
        print(f"facezoo: ... and {len(done.failed) - _LISTED} more, see {done.manifest}", file=sys.stderr)
    return 1 if done.failed else 0


def _report(prediction: Prediction, files: Sequence[Path]) -> None:
    count = len(prediction)
    lines = [f"{prediction.source}: {count or 'no'} face{'' if count == 1 else 's'}"]
    for number, face in enumerate(prediction):
        x0, y0, x1, y1 = (round(v) for v in face.box.tolist())
        pose = face.pose
        turned = f"  yaw {pose.yaw:+.0f}° pitch {pose.pitch:+.0f}° roll {pose.roll:+.0f}°" if pose else ""
        lines.append(f"  {number}: box {x0},{y0},{x1},{y1}{turned}")
    if files:
        lines.append("  wrote " + " ".join(str(file) for file in files))
    # In one piece: several processes may write to one terminal.
    sys.stdout.write(_printable("\n".join(lines)) + "\n")


def _printable(text: str) -> str:
    """Replace what no terminal can show: a file name may be any bytes."""
    return text.encode(errors="replace").decode()


def _expand(inputs: list[str]) -> list[Path]:
    paths: list[Path] = []
    for text in inputs:
        path = Path(text).expanduser()
        paths += list_images(path) if path.is_dir() else [path]
    return list(dict.fromkeys(paths))


def _stems(paths: list[Path]) -> dict[Path, str]:
    """Give every input its own file name stem, also when a.jpg and b/a.png come together."""
    taken: set[str] = set()
    stems: dict[Path, str] = {}
    for path in paths:
        stem, number = path.stem, 1
        while stem in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem)
        stems[path] = stem
    return stems


def _chunks(paths: list[Path], size: int) -> Iterator[list[Path]]:
    if size < 1:
        raise InputError(f"--batch-size must be at least 1, got {size}.")
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def _read_boxes(text: str | None, paths: list[Path]) -> dict[Path, Any]:
    if text is None:
        return {}
    file = Path(text).expanduser()
    if file.suffix == ".json":
        table = _box_table(file)
        named = {path: table.get(str(path), table.get(path.name)) for path in paths}
        missing = [str(path) for path, found in named.items() if found is None]
        if missing:
            print(
                f"facezoo: no boxes for {', '.join(missing)} in {file}; the detector looks there",
                file=sys.stderr,
            )
        return {path: found for path, found in named.items() if found is not None}
    if len(paths) != 1:
        raise InputError(
            f"--boxes with numbers is for one picture, got {len(paths)}; give a JSON file instead."
        )
    try:
        rows = [[float(value) for value in row.split(",")] for row in text.split(";") if row.strip()]
    except ValueError as error:
        raise InputError(f'--boxes: {text!r} is not "x0,y0,x1,y1[;...]" nor a .json file.') from error
    return {paths[0]: rows}


def _box_table(file: Path) -> dict[str, Any]:
    if file.suffix != ".json":
        raise InputError(
            f"--boxes for a folder is a .json file {{name: [[x0, y0, x1, y1], ...]}}, got {str(file)!r}."
        )
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--boxes: {file} cannot be read as JSON: {error}.") from error
    if not isinstance(table, dict):
        raise InputError(f'--boxes: {file} must hold {{"picture.jpg": [[x0, y0, x1, y1], ...], ...}}.')
    return table
