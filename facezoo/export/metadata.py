"""What a file says about itself: how its input is made, what its outputs mean, who may use it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from facezoo import __version__
from facezoo.export.network import describe_outputs
from facezoo.heads import HeadModel
from facezoo.hub import Checkpoint
from facezoo.models.base import ZooModel
from facezoo.training.lineage import describe_parent, strictest

KEY = "facezoo"
_FROM_INFO = ("head_id", "lineage", "least_confidence")


def describe(model: ZooModel, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return all that a program needs to use the network without this package, as JSON values.

    Args:
        model: the network.
        checkpoint: where its weights came from.

    Returns:
        Among others ``inputs``, ``preprocessing`` and ``outputs``, see :class:`facezoo.models.signature.Signature`;
        ``licences``; and ``heads_inside``, the heads whose arrays the network computes with, so that a file of it
        carries them, other than a checkpoint.
    """
    source, signature = describe_parent(checkpoint), model.signature()
    inside = {m.head_id: m.licence for m in model.modules() if isinstance(m, HeadModel)}
    licences = dict(source["licences"])
    if inside:
        licences["head"] = strictest([licences["head"], *inside.values()])
    return {
        "format": 1,
        "facezoo": __version__,
        "model_id": title(checkpoint),
        "method": model.method,
        "weights_sha256": source["sha256"],
        "licences": licences,
        "heads_inside": inside,
        **{key: model.info[key] for key in _FROM_INFO if key in model.info},
        "inputs": {
            name: {"shape": ["batch", *given.shape], "dtype": "float32", "values": given.values}
            for name, given in signature.inputs.items()
        },
        "preprocessing": dict(signature.preprocessing),
        "outputs": describe_outputs(model, dict(signature.units)),
        "config": dataclasses.asdict(model.config),
    }


def title(checkpoint: Checkpoint) -> str:
    """Return a checkpoint's id; for a folder its name, or the run's whose ``export`` it is: no path of this machine."""
    if Path(checkpoint.id).expanduser() != checkpoint.folder:
        return checkpoint.id
    folder = checkpoint.folder.resolve()
    return folder.parent.name if folder.name == "export" else folder.name
