"""What facezoo can load: one frozen table, readable without torch.

A model id is kebab-case (``dense-1609``); a weight tag follows after one dot (``dense-1609.open-v1``). A published tag
never changes its bytes: new weights get a new tag. An id without a tag means the first tag in the table, always.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from facezoo.errors import unknown_name

WEIGHTS_ROOT = Path(__file__).resolve().parent / "weights"


@dataclass(frozen=True, slots=True)
class Licences:
    """Who may do what: SPDX ids of the code, the weights, the head they need and the data they saw."""

    code: str
    weights: str
    head: str
    data: str

    @property
    def commercial(self) -> bool:
        """True if all four allow commercial use."""
        return {self.code, self.weights, self.head, self.data} <= {
            "Apache-2.0",
            "CC0-1.0",
            "CC-BY-4.0",
            "MIT",
        }


@dataclass(frozen=True, slots=True)
class WeightSpec:
    """One published set of weights.

    Attributes:
        tag: what follows the dot, immutable once published.
        head: id of the head whose parameters and vertices the network speaks.
        sha256: file name -> digest, checked before a file is read.
        size: bytes of all files together.
        licences: see :class:`Licences`.
        trained_on: one line a person reads.
        metrics: name -> value, produced by the command in ``README.md`` beside the weights.
        embedded: the files travel in the wheel.
    """

    tag: str
    head: str
    sha256: Mapping[str, str]
    size: int
    licences: Licences
    trained_on: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    embedded: bool = True


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One method at one size: where its class lives and which weights exist, the default first.

    ``method`` is what the config.json of its checkpoints says.
    """

    name: str
    method: str
    module: str
    class_name: str
    summary: str
    paper: str
    weights: tuple[WeightSpec, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model together with one of its weights: what a full id names."""

    model: ModelSpec
    weights: WeightSpec

    @property
    def id(self) -> str:
        """Full id, ``name.tag``."""
        return f"{self.model.name}.{self.weights.tag}"

    @property
    def folder(self) -> Path:
        """Where embedded weights lie."""
        return WEIGHTS_ROOT / self.id


_OWN = Licences(code="Apache-2.0", weights="CC0-1.0", head="CC0-1.0", data="CC0-1.0")

_MODELS = (
    ModelSpec(
        name="dense-1609",
        method="dense",
        module="facezoo.models.dense.predict",
        class_name="DenseLandmarks",
        summary="1609 landmarks with confidences from one crop, then a head and a camera fitted to them",
        paper="Landmark-based dense 3D face reconstruction (thesis, ETH Zürich 2022); after Wood et al., ECCV 2022",
        weights=(
            WeightSpec(
                tag="open-v1",
                head="open-v1",
                sha256={
                    "model.safetensors": "9d679f3e2f3bd20755f442182a9c1f6bf0c94227f73c91fcee164e57346a9763",
                    "config.json": "36eee59a6ad5c09fbcea7003aaa542c2eb17936e5a2b2177aaf5f0651fe81ab6",
                },
                size=8728191,
                licences=_OWN,
                trained_on="20,000 synthetic people of the open head, 42 minutes on two CPU cores; no photograph",
                metrics={
                    "NME % aflw2000_9, original labels, true boxes": 4.42,
                    "NME % dlib_18, contour, true boxes": 4.64,
                    "NME % synthetic validation": 3.94,
                },
            ),
        ),
    ),
)

CATALOG: Mapping[str, ModelSpec] = MappingProxyType({model.name: model for model in _MODELS})


def entries() -> list[Entry]:
    """Return every model with every of its weights, in catalogue order."""
    return [Entry(model, weights) for model in CATALOG.values() for weights in model.weights]


def list_models(pattern: str = "*", *, head: str | None = None, commercial: bool | None = None) -> list[str]:
    """List full ids, optionally filtered.

    Args:
        pattern: shell wildcard over full ids and bare names, e.g. ``"dense-*"``.
        head: only weights for this head id.
        commercial: only (True) or no (False) weights whose code, weights, head and data may all be used commercially.
    """
    return [
        entry.id
        for entry in entries()
        if (fnmatch.fnmatch(entry.id, pattern) or fnmatch.fnmatch(entry.model.name, pattern))
        and (head is None or entry.weights.head == head)
        and (commercial is None or entry.weights.licences.commercial == commercial)
    ]


def info(name: str) -> Entry:
    """Return the catalogue entry of ``name`` or ``name.tag``.

    Raises:
        UnknownNameError: no such model or tag; the message names the nearest.
    """
    bare, _, tag = name.partition(".")
    hint = "`facezoo list` shows all models."
    if bare not in CATALOG:
        raise unknown_name("model", name, [*CATALOG, *(entry.id for entry in entries())], hint)
    model = CATALOG[bare]
    if not tag:
        return Entry(model, model.weights[0])
    for weights in model.weights:
        if weights.tag == tag:
            return Entry(model, weights)
    raise unknown_name("model", name, [f"{bare}.{weights.tag}" for weights in model.weights], hint)
