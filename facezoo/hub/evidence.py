"""The measurements that lie in a run: what a card may claim, and nothing else.

Three places are read: ``validation`` in config.json (by the training itself), ``evaluation/*.json`` in the run or the
export (by ``facezoo evaluate MODEL data=... out=RUN/evaluation``) and ``bias.json`` (by ``data=synthetic``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facezoo.catalog import Measurement
from facezoo.errors import AssetError
from facezoo.hub.bias import BIAS_FILE, BiasReport, read_bias
from facezoo.hub.exported import CONFIG, Export

RECIPE = "recipe.yaml"
# Names that the training's metrics have, in words.
_METRICS = {
    "nme68": "NME % (68 points)",
    "nme_contour68": "NME % (68 points, visible contour)",
    "nme_3dmm68": "NME % (68 points of the fitted model)",
    "nme_dense": "NME % (dense points)",
    "mlme": "mean error of dense points, px of a 256 px crop",
    "md": "mean distance, mm",
    "md_upper_face": "mean distance on the upper face, mm",
}


@dataclass(frozen=True)
class Evidence:
    """What was measured on exactly these weights.

    Attributes:
        validation: by the training, on people it did not see.
        photographs: on annotated pictures, a row per label set, with the error of each part of the face.
        bias: by groups of people, None if nobody has measured it.
    """

    validation: tuple[Measurement, ...]
    photographs: tuple[tuple[Measurement, dict[str, float]], ...]
    bias: BiasReport | None

    @property
    def measurements(self) -> list[Measurement]:
        """All numbers that are means over a data set, photographs first."""
        return [*(measured for measured, _ in self.photographs), *self.validation]


def collect(export: Export) -> Evidence:
    """Read every measurement of an export's run.

    Raises:
        AssetError: one cannot be read, or was made with other weights.
    """
    places = list(dict.fromkeys((export.run, export.folder)))
    command = launch_command(export)
    validation = tuple(
        Measurement(_METRICS.get(name, name), "held-out validation data of the training", value, command)
        for name, value in (export.config.get("validation") or {}).items()
        if isinstance(value, int | float) and math.isfinite(value)
    )
    files = [file for place in places for file in sorted((place / "evaluation").glob("*.json"))]
    rows = [row for file in files if file.name != BIAS_FILE for row in _evaluation(file, export)]
    found = [place / part / BIAS_FILE for place in places for part in ("", "evaluation")]
    bias = next((read_bias(path) for path in found if path.is_file()), None)
    if bias is not None:
        _same_weights(bias.weights_sha256, next(path for path in found if path.is_file()), export)
    return Evidence(validation, tuple(rows), bias)


def launch_command(export: Export) -> str:
    """Return the command that trained this, as the header of the run's recipe.yaml has it; empty if unknown."""
    first = recipe_text(export).partition("\n")[0]
    return first.lstrip("# ").strip() if "facezoo" in first else ""


def recipe_text(export: Export) -> str:
    """Return the run's resolved recipe, the home folder as ``~``; empty if there is none."""
    for place in dict.fromkeys((export.run, export.folder, export.folder.parent)):
        if (place / RECIPE).is_file():
            text = (place / RECIPE).read_text(encoding="utf-8").strip()
            return text.replace(f"{Path.home()}/", "~/")  # who trained it is not for everybody
    return ""


def _evaluation(path: Path, export: Export) -> Iterator[tuple[Measurement, dict[str, float]]]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _same_weights(values["weights_sha256"], path, export)
        missed = f", {values['missed']} missed" if values["missed"] else ""
        for labels, row in values["nme_percent"].items():
            data = f"{values['data']}, {labels} labels, {values['faces']} faces{missed}, {values['boxes']}"
            if row:
                yield (
                    Measurement("NME %", data, float(row["mean"]), str(values["command"])),
                    {part: float(value) for part, value in row.items()},
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetError(
            f"{path} is no evaluation ({type(error).__name__}: {error}); write it again with "
            f"`facezoo evaluate {export.folder} data=... root=DIR out={path.parent}`."
        ) from error


def _same_weights(digest: str, path: Path, export: Export) -> None:
    if digest != export.sha256:
        raise AssetError(
            f"{path} was measured on other weights (sha256 {str(digest)[:12]}, {export.folder / CONFIG} has "
            f"{export.sha256[:12]}); measure again, or move it out of the run."
        )
