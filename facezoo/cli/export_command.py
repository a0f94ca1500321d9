"""``facezoo export``: a model's network as an ONNX or torch.export file."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict


def run(args: argparse.Namespace) -> int:
    """Write the file and print what it holds."""
    from facezoo.export import export_model

    done = export_model(args.model, args.out, format=args.format, opset=args.opset, check=not args.no_check)
    if args.json:
        print(json.dumps({**asdict(done), "path": str(done.path)}, indent=1))
        return 0
    about = done.metadata
    print(f"{done.path}  {done.size / 1e6:.1f} MB, {about['model_id']}")
    for kind in ("inputs", "outputs"):
        for name, tensor in about[kind].items():
            unit = f"  {tensor['unit']}" if tensor.get("unit") else ""
            print(f"  {kind[:-1]:<9} {name} ({', '.join(map(str, tensor['shape']))}){unit}")
    terms = ", ".join(f"{part} {text or 'not stated'}" for part, text in about["licences"].items())
    print(f"  licences  {terms}")
    for head, licence in about["heads_inside"].items():
        print(f"  carries   arrays of head {head} ({licence}): pass the file on under that licence only")
    for batch, error in done.errors.items():
        print(f"  largest difference from the network, batch {batch}: {error:.2g}")
    return 0
