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
  facezoo predict photo.jpg --json               numbers on the screen, no files
  facezoo demo                                   the same on a photo that is already on this machine
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all went well, 2 if the input was refused (one line on stderr says why), 130 if interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["train"]:  # its own key=value grammar
            return _train(arguments[1:])
        parser = build_parser()
        args = parser.parse_args(arguments)
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
        "--detector", default="auto", help="auto, cascade, whole, yunet (default: %(default)s)"
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

    listing = verbs.add_parser("list", help="show all models")
    listing.add_argument("pattern", nargs="?", default="*", help="wildcard, e.g. 'dense-*'")
    listing.add_argument("--json", action="store_true")

    info = verbs.add_parser("info", help="show one model: licences, training data, measured numbers")
    info.add_argument("model")
    info.add_argument("--json", action="store_true")

    evaluate = verbs.add_parser("evaluate", help="measure a model on annotated photographs")
    evaluate.add_argument("model")
    evaluate.add_argument(
        "settings",
        nargs="+",
        metavar="KEY=VALUE",
        help="data=aflw2000_9|dlib_18 root=DIR [boxes=truth|detector] [out=DIR]",
    )
    evaluate.add_argument("--json", action="store_true", help="print the result as JSON")
    evaluate.add_argument("--detector", default="auto", help="for boxes=detector (default: %(default)s)")
    _device(evaluate)

    bench = verbs.add_parser("bench", help="measure speed on this machine")
    bench.add_argument("what", choices=("fit", "render", "predict"))
    bench.add_argument("--json", action="store_true")
    bench.add_argument("--model", default="dense-1609", help="for predict (default: %(default)s)")
    _device(bench)

    assets = verbs.add_parser("assets", help="add licensed heads to this machine, or list them")
    actions = assets.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="convert an official file once, without executing anything in it")
    add.add_argument("kind", choices=("flame",))
    add.add_argument("path", help="downloaded pickle, or a folder with it, its landmark embeddings and masks")
    actions.add_parser("list", help="show the heads on this machine")

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
