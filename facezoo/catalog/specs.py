"""What one row of the catalogue says, and how names are looked up in a table of rows."""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from facezoo.errors import AssetError, InputError, unknown_name

WEIGHTS_ROOT = Path(__file__).resolve().parents[1] / "weights"
# What a model is for -> the Hub's pipeline tag for it.
TASKS: Mapping[str, str] = MappingProxyType(
    {
        "landmarks": "keypoint-detection",
        "reconstruction": "image-to-3d",
        "tracking": "keypoint-detection",
        "stabilization": "other",
    }
)
_COMMERCIAL = {"Apache-2.0", "CC0-1.0", "CC-BY-4.0", "MIT"}
_COMMIT = re.compile(r"[0-9a-f]{40}")


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
        return {self.code, self.weights, self.head, self.data} <= _COMMERCIAL


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured number and how to measure it again.

    Attributes:
        metric: what was measured, with its unit.
        data: the data set and the variant of it.
        value: the number.
        command: what printed it.
    """

    metric: str
    data: str
    value: float
    command: str


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
        metrics: measured numbers, the most telling first.
        embedded: the files travel in the wheel.
        repo: ``user/name`` on the Hub, for weights that do not.
        revision: full commit hash in that repo; a branch would not be a pin.
    """

    tag: str
    head: str
    sha256: Mapping[str, str]
    size: int
    licences: Licences
    trained_on: str
    metrics: tuple[Measurement, ...] = ()
    embedded: bool = True
    repo: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One method at one size: where its class lives and which weights exist, the default first.

    A method without published weights has none here; its class still reads folders and repos that others made.
    ``method`` is what the config.json of its checkpoints says; ``tasks`` are some of ``TASKS``, the
    first the one it is best known for.
    """

    name: str
    method: str
    module: str
    class_name: str
    summary: str
    paper: str
    tasks: tuple[str, ...]
    weights: tuple[WeightSpec, ...]

    @property
    def reads_pictures(self) -> bool:
        """False for methods whose input is meshes."""
        return self.tasks[0] != "stabilization"


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


@dataclass(frozen=True)
class Catalog(Mapping[str, ModelSpec]):
    """A table of models; a mapping from bare name to model.

    The table that ships is :data:`CATALOG`. A lab may keep another one and hand it to ``facezoo.hub.resolve``.

    Args:
        models: in the order they are listed.
        deprecated: old name or full id -> the name or full id that stands for it now.

    Raises:
        InputError: the table contradicts itself; the message names the entry.
    """

    models: tuple[ModelSpec, ...]
    deprecated: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        ids = [entry.id for entry in self.entries()]
        if len({*names, *ids}) != len(names) + len(ids):
            raise InputError(f"a name occurs twice in the catalogue: {', '.join(sorted([*names, *ids]))}")
        for model in self.models:
            for task in model.tasks or ("",):
                if task not in TASKS:
                    raise unknown_name("task", task, TASKS, f"(model {model.name})")
        for entry in self.entries():
            _check_pinned(entry)
        for old, new in self.deprecated.items():
            if old in names or old in ids or new not in [*names, *ids]:
                raise InputError(f"deprecated name {old!r} must be free and {new!r} must exist")

    def __getitem__(self, name: str) -> ModelSpec:
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (model.name for model in self.models)

    def __len__(self) -> int:
        return len(self.models)

    def entries(self) -> list[Entry]:
        """Return every model with every of its weights, in catalogue order."""
        return [Entry(model, weights) for model in self.models for weights in model.weights]

    def list_models(
        self,
        pattern: str = "*",
        *,
        task: str | None = None,
        licence: str | None = None,
        head: str | None = None,
        commercial: bool | None = None,
    ) -> list[str]:
        """List full ids; see :func:`list_models`."""
        if task is not None and task not in TASKS:
            raise unknown_name("task", task, TASKS)
        return [
            entry.id
            for entry in self.entries()
            if (fnmatch.fnmatch(entry.id, pattern) or fnmatch.fnmatch(entry.model.name, pattern))
            and (task is None or task in entry.model.tasks)
            and (licence is None or fnmatch.fnmatch(entry.weights.licences.weights.lower(), licence.lower()))
            and (head is None or entry.weights.head == head)
            and (commercial is None or entry.weights.licences.commercial == commercial)
        ]

    def info(self, name: str) -> Entry:
        """Return the entry of ``name`` or ``name.tag``; see :func:`info`."""
        if name in self.deprecated:
            successor = self.deprecated[name]
            warnings.warn(
                f"the model name {name!r} is deprecated and stands for {successor!r}; use {successor!r}",
                FutureWarning,
                stacklevel=3,
            )
            name = successor
        bare, _, tag = name.partition(".")
        hint = "`facezoo list` shows all models."
        if bare not in self:
            raise unknown_name("model", name, [*self, *(entry.id for entry in self.entries())], hint)
        model = self[bare]
        if not model.weights:
            raise AssetError(
                f"{bare} has no published weights yet; train some (`python -m facezoo.train recipe=list` names the "
                "recipes) and load the run's export folder."
            )
        if not tag:
            return Entry(model, model.weights[0])
        for weights in model.weights:
            if weights.tag == tag:
                return Entry(model, weights)
        raise unknown_name("model", name, [f"{bare}.{weights.tag}" for weights in model.weights], hint)

    def knows(self, name: str) -> bool:
        """Return whether ``name`` is an id, a bare name or a deprecated name, without any warning."""
        return name in self.deprecated or name in self or any(entry.id == name for entry in self.entries())

    def of_method(self, method: object, where: str) -> ModelSpec:
        """Return the first model of a method.

        Args:
            method: what a config.json says.
            where: that file, for the message.

        Raises:
            UnknownNameError: no model has this method.
        """
        for model in self.models:
            if model.method == method:
                return model
        raise unknown_name("method", str(method), {m.method for m in self.models}, f"({where})")


def _check_pinned(entry: Entry) -> None:
    weights = entry.weights
    if set(weights.sha256) != {"config.json", "model.safetensors"}:
        raise InputError(f"{entry.id} must pin the sha256 of config.json and model.safetensors")
    if not weights.embedded and not (weights.repo and _COMMIT.fullmatch(weights.revision)):
        raise InputError(
            f"{entry.id} is not embedded: it needs repo='user/name' and a full commit as revision"
        )


def licences_from(values: object) -> Licences | None:
    """Read the ``licences`` section of a config.json; None if one of the four is missing."""
    if not isinstance(values, Mapping):
        return None
    texts = [str(values.get(part) or "").strip() for part in ("code", "weights", "head", "data")]
    return Licences(*texts) if all(texts) else None
