"""The ``facezoo`` command. Parsing needs no torch; each verb lives in its own module, imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from facezoo import __version__
from facezoo.errors import FacezooError

_EXAMPLES = """\
examples:
  facezoo predict photo.jpg -o out/              overlay PNG, JSON and one GLB a face
  facezoo predict photos/ -o out/ --format obj   every picture of a folder, OBJ instead of GLB
  facezoo predict photos/ -o out/ --devices 4    four processes; run it again to go on where it stopped
  facezoo predict photo.jpg --json               numbers on the screen, no files
  facezoo demo                                   the same on a photo that is already on this machine
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all went well, 1 if pictures of a folder failed, 2 if the input was refused (one line on stderr says why),
        130 if interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["train"]:  # its own key=value grammar
            return _train(arguments[1:])
        parser = build_parser()
        args = parser.parse_args(_settings_first(arguments))
        if args.command is None:
            parser.print_help()
            return 0
        module = importlib.import_module(f"facezoo.cli.{args.command}_command")
        code: int = module.run(args)
        return code
    except FacezooError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        print("facezoo: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `facezoo list | head`: the reader has gone, and with it stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def print_error(error: FacezooError) -> None:
    """Print what is wrong as one line on stderr."""
    print(f"facezoo: {' '.join(str(error).split())}", file=sys.stderr)


def _settings_first(arguments: list[str]) -> list[str]:
    """Put the settings of ``bench train --json key=value`` before its options, where argparse looks for them."""
    if arguments[:2] != ["bench", "train"]:
        return arguments
    settings = [word for word in arguments[2:] if "=" in word and not word.startswith("-")]
    return ["bench", "train", *settings, *(word for word in arguments[2:] if word not in settings)]


def _train(arguments: list[str]) -> int:
    from facezoo.train import main as train

    return int(train(arguments) or 0)


def build_parser() -> argparse.ArgumentParser:
    """Describe every verb and its options."""
    parser = argparse.ArgumentParser(
        prog="facezoo",
        description="3D faces from pictures.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"facezoo {__version__}")
    verbs = parser.add_subparsers(dest="command", metavar="COMMAND")

    predict = verbs.add_parser("predict", help="find and reconstruct the faces of pictures")
    predict.add_argument("inputs", nargs="+", metavar="INPUT", help="image files or folders of them")
    predict.add_argument(
        "-o", "--out", metavar="DIR", help="where to write; without it only a summary is printed"
    )
    predict.add_argument("--model", default="dense-1609", help="name or folder (default: %(default)s)")
    predict.add_argument(
        "--detector", default="auto", help="auto, open, cascade, whole, yunet (default: %(default)s)"
    )
    predict.add_argument(
        "--boxes",
        metavar="BOXES",
        help='"x0,y0,x1,y1[;x0,y0,x1,y1...]" for one picture, or a JSON file {name: [[...]]}',
    )
    predict.add_argument(
        "--format", default="glb", metavar="LIST", help="glb,obj,ply,usda,npz,json (default: %(default)s)"
    )
    predict.add_argument("--json", action="store_true", help="print the result as JSON")
    predict.add_argument(
        "--no-fit", action="store_true", help="stop after the network: landmarks, no refined head"
    )
    predict.add_argument("--batch-size", type=int, default=16, metavar="N", help="default: %(default)s")
    _device(predict)
    whole = predict.add_argument_group(
        "one folder with --out", "sub-folders included; see docs/predicting_folders.md"
    )
    whole.add_argument("--devices", type=int, metavar="N", help="processes a machine (default: 1)")
    whole.add_argument(
        "--num-nodes", type=int, metavar="M", help="machines, each started by torchrun or srun (default: 1)"
    )
    whole.add_argument(
        "--workers", type=int, metavar="N", help="processes that load pictures, each device (default: 0)"
    )
    whole.add_argument("--overwrite", action="store_true", help="start over instead of going on")

    track = verbs.add_parser("track", help="follow the faces of a video and fit one head a person to all frames")
    track.add_argument(
        "inputs",
        nargs="+",
        metavar="VIDEO",
        help="video file or webcam[:N] (extra video), or folder of frames; several with --cameras",
    )
    track.add_argument("-o", "--out", required=True, metavar="DIR", help="run again, it goes on where it stopped")
    track.add_argument("--model", default="dense-1609", help="name or folder (default: %(default)s)")
    track.add_argument("--detector", default="auto", help="default: %(default)s")
    track.add_argument("--online", action="store_true", help="causal: no frame sees the future")
    track.add_argument(
        "--budget", type=float, metavar="MS", help="online: milliseconds a frame; drops work, not frames"
    )
    track.add_argument(
        "--cameras", metavar="FILE", help="calibration of several videos (docs/tracking.md), or uncalibrated"
    )
    track.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    track.add_argument("--fps", type=float, metavar="N", help="default: the video's; 30 for a folder")
    track.add_argument("--people", type=int, default=4, metavar="N", help="most at once (default: %(default)s)")
    track.add_argument("--focal", type=float, metavar="PX", help="focal length in pixels; default: estimated")
    track.add_argument(
        "--overlay",
        choices=("auto", "mp4", "png", "none"),
        default="auto",
        help="what is drawn; auto is mp4 with the extra video, else png",
    )
    track.add_argument("--overwrite", action="store_true", help="start over instead of going on")
    track.add_argument("--json", action="store_true", help="print a summary as JSON, without a progress bar")
    _device(track)

    listing = verbs.add_parser("list", help="show all models")
    listing.add_argument("pattern", nargs="?", default="*", help="wildcard, e.g. 'dense-*'")
    listing.add_argument("--task", help="landmarks, reconstruction or tracking")
    listing.add_argument("--licence", metavar="SPDX", help="of the weights; wildcards, e.g. 'cc-by-*'")
    listing.add_argument("--head", metavar="ID", help="for this head, e.g. open-v1")
    listing.add_argument("--commercial", action="store_true", help="what may be used commercially")
    listing.add_argument("--json", action="store_true")

    info = verbs.add_parser("info", help="show one model: licences, training data, measured numbers")
    info.add_argument("model")
    info.add_argument("--json", action="store_true")

    evaluate = verbs.add_parser(
        "evaluate", help="measure a model on annotated photographs or by groups of people"
    )
    evaluate.add_argument("model")
    evaluate.add_argument(
        "settings",
        nargs="+",
        metavar="KEY=VALUE",
        help="data=aflw2000|aflw|300w-lp|aflw2000_9|dlib_18 root=DIR [boxes=truth|detector|displaced] [out=DIR], "
        "data=now root=DIR "
        "[split=validation|test] [out=DIR], data=now-synthetic [count=N] [out=DIR], data=tracking [models=A,B] "
        "[count=N] [frames=N] [kinds=A,B] [out=DIR], data=multiface root=DIR [models=A,B] [out=DIR], or data=synthetic "
        "[count=N] [out=DIR] "
        "(a stabilizer: also unpose=N)",
    )
    evaluate.add_argument("--json", action="store_true", help="print the result as JSON")
    evaluate.add_argument("--detector", default="auto", help="for boxes=detector (default: %(default)s)")
    _device(evaluate)

    publish = verbs.add_parser(
        "publish", help="upload a training run to the Hub, with its card, in one commit"
    )
    publish.add_argument("run", metavar="RUN", help="a run's folder, or a folder that save_pretrained wrote")
    publish.add_argument("--repo", required=True, metavar="USER/NAME")
    publish.add_argument("--revision", default="main", metavar="BRANCH", help="default: %(default)s")
    publish.add_argument("--private", action="store_true", help="make a new repo private")
    publish.add_argument("--dry-run", action="store_true", help="show what would be sent; no network")
    publish.add_argument("--card", action="store_true", help="write README.md again from what was measured")
    publish.add_argument(
        "--licence",
        action="append",
        default=[],
        metavar="PART=SPDX",
        help="state a licence (code, weights, head, data); stored in config.json",
    )
    publish.add_argument(
        "--base-model", metavar="NAME", help="what the training started from, or none; stored in config.json"
    )
    publish.add_argument("--json", action="store_true")

    bench = verbs.add_parser("bench", help="measure speed on this machine")
    bench.add_argument("what", choices=("fit", "render", "predict", "track", "train", "stabilizer", "synergynet"))
    bench.add_argument(
        "settings",
        nargs="*",
        metavar="KEY=VALUE",
        help="for train: recipe=NAME [steps=N] and a recipe's keys",
    )
    bench.add_argument("--json", action="store_true")
    bench.add_argument("--model", default="dense-1609", help="for predict, track (default: %(default)s), or stabilizer")
    _device(bench)

    assets = verbs.add_parser("assets", help="add licensed heads to this machine, or list them")
    actions = assets.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="convert an official file once, without executing anything in it")
    add.add_argument("kind", choices=("flame", "ict"))
    add.add_argument("path", help="FLAME: pickle, or folder with embeddings and masks too; ICT: folder FaceXModel")
    actions.add_parser("list", help="show the heads on this machine")

    stabilize = verbs.add_parser("stabilize", help="hold the skull of a sequence of meshes still")
    stabilize.add_argument(
        "sequence",
        metavar="DIR",
        help="folder of OBJ, PLY, GLB or NPZ meshes of one person and topology; or one .npz of all frames, or one .glb "
        "with morph targets; metres",
    )
    stabilize.add_argument(
        "-o", "--out", required=True, metavar="OUT", help="folder for meshes, motion.json, pictures"
    )
    stabilize.add_argument(
        "--reference",
        default="medoid",
        metavar="FRAME",
        help="the frame that stays: its name, its number, medoid, or a mesh file (default: %(default)s)",
    )
    stabilize.add_argument(
        "--anchors", type=int, default=5, metavar="K", help="frames that each is compared with (default: %(default)s)"
    )
    stabilize.add_argument(
        "--smooth", type=int, default=0, metavar="W", help="odd window in frames for performances (default: none)"
    )
    stabilize.add_argument(
        "--format",
        default="obj",
        metavar="KIND",
        help="obj, ply, glb, usda, npz, or npz-sequence for one file (default: %(default)s)",
    )
    stabilize.add_argument("--no-pictures", action="store_true", help="no before_after.png and heat_map.png")
    stabilize.add_argument("--model", default="skull-stabilizer", help="name or folder (default: %(default)s)")
    stabilize.add_argument("--json", action="store_true", help="print motion.json")
    _device(stabilize)

    export = verbs.add_parser("export", help="write a model's network as an ONNX or torch.export file")
    export.add_argument("model", help="name, repo or folder")
    export.add_argument(
        "-o",
        "--out",
        default=".",
        metavar="DIR",
        help="folder, or a file ending in .onnx or .pt2 (default: here)",
    )
    export.add_argument("--format", choices=("onnx", "torch"), help="default: the file's ending, or onnx")
    export.add_argument("--opset", type=int, metavar="N", help="version of ONNX' operators")
    export.add_argument(
        "--no-check", action="store_true", help="do not compare the file with the network before writing it"
    )
    export.add_argument("--json", action="store_true", help="print the file's metadata as JSON")

    demo = verbs.add_parser("demo", help="predict on the astronaut photo that scikit-image ships")
    demo.add_argument("-o", "--out", default="out", metavar="DIR", help="default: %(default)s")
    demo.add_argument("--model", default="dense-1609", help="default: %(default)s")
    _device(demo)

    doctor = verbs.add_parser("doctor", help="check this installation")
    doctor.add_argument("--json", action="store_true")

    verbs.add_parser(
        "train", help="train by a recipe: facezoo train recipe=dense key=value ...", add_help=False
    )
    return parser


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
