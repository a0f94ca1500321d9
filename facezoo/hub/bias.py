"""``bias.json``: how well a model does on groups of people, as it lies in a run folder and is printed on a card.

    {"schema": "facezoo-bias-1",
     "model": "...", "weights_sha256": "...", "data": "...", "metric": "...", "count": 500, "command": "...",
     "groups": {"skin tone": [{"name": "light", "n": 167, "nme": 3.81, "se": 0.05}, ...], "sex": [...], "age": [...]}}

``nme`` is in percent, the mean over the ``n`` people of the group; ``se``, its standard error, may be missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facezoo.errors import AssetError

BIAS_FILE = "bias.json"
SCHEMA = "facezoo-bias-1"


@dataclass(frozen=True)
class Group:
    """One group of people.

    Attributes:
        name: what they share.
        n: how many were measured.
        nme: mean error in percent; NaN if nobody is in the group.
        se: standard error of that mean, None if unknown.
    """

    name: str
    n: int
    nme: float
    se: float | None = None


@dataclass(frozen=True)
class BiasReport:
    """A measurement by groups; every kind of group divides the same people.

    Attributes:
        model: what was measured.
        weights_sha256: digest of its weights, so that a card never shows another model's numbers.
        data: which people.
        metric: what ``nme`` means.
        count: how many people in all.
        command: what measured it.
        groups: kind of group -> its groups.
    """

    model: str
    weights_sha256: str
    data: str
    metric: str
    count: int
    command: str
    groups: Mapping[str, tuple[Group, ...]]

    def to_json(self) -> str:
        """Return the text of ``bias.json``."""
        values: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        values["groups"] = {
            kind: [
                {
                    key: value
                    for key, value in asdict(group).items()
                    if value is not None and not (isinstance(value, float) and math.isnan(value))
                }
                for group in groups
            ]
            for kind, groups in self.groups.items()
        }
        return json.dumps(values, indent=1) + "\n"


def read_bias(path: Path) -> BiasReport:
    """Read ``bias.json``.

    Raises:
        AssetError: it is not of this schema; the message says what is missing.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise ValueError(f"schema {values['schema']!r}, expected {SCHEMA!r}")
        groups = {
            str(kind): tuple(
                Group(
                    str(g["name"]),
                    int(g["n"]),
                    float(g["nme"]) if int(g["n"]) else math.nan,
                    float(g["se"]) if "se" in g else None,
                )
                for g in listed
            )
            for kind, listed in values["groups"].items()
        }
        return BiasReport(
            model=str(values["model"]),
            weights_sha256=str(values["weights_sha256"]),
            data=str(values["data"]),
            metric=str(values["metric"]),
            count=int(values["count"]),
            command=str(values["command"]),
            groups=groups,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetError(
            f"{path} is no measurement by groups ({type(error).__name__}: {error}); write it again with "
            "`facezoo evaluate MODEL data=synthetic out=RUN`."
        ) from error
