"""What facezoo can load: one frozen table, readable without torch.

A model id is kebab-case (``dense-1609``); a weight tag follows after one dot (``dense-1609.open-v2``). A published tag
never changes its bytes: new weights get a new tag. An id without a tag means the first tag in the table, always.
A name that was given up stays in ``deprecated`` and forwards to its successor with a warning.
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from facezoo.errors import AssetError, InputError, unknown_name

WEIGHTS_ROOT = Path(__file__).resolve().parent / "weights"
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


_OWN = Licences(code="Apache-2.0", weights="CC0-1.0", head="CC0-1.0", data="CC0-1.0")


def _nme(data: str, value: float, command: str) -> Measurement:
    return Measurement("NME %", data, value, command)


_MODELS = (
    ModelSpec(
        name="dense-1609",
        method="dense",
        module="facezoo.models.dense.predict",
        class_name="DenseLandmarks",
        summary="dense landmarks with confidences from one crop, then a head and a camera fitted to them",
        paper="Landmark-based dense 3D face reconstruction (thesis, ETH Zürich 2022); after Wood et al., ECCV 2022",
        tasks=("landmarks", "reconstruction"),
        weights=(
            WeightSpec(
                tag="open-v2",
                head="open-v1",
                sha256={
                    "model.safetensors": "0f802e76cb9b36eebdd492f204b22854d0a3717f6affe8d56e97f1c155f52529",
                    "config.json": "d9e01d612640a8cc0b902671d529c3494dcd30a02c8c99bc724854c22ab275f3",
                },
                size=8728385,
                licences=_OWN,
                trained_on="32,400 synthetic people of the open head, 78 minutes on two CPU cores; no photograph",
                metrics=(
                    _nme(
                        "aflw2000_9, original labels, true boxes",
                        3.88,
                        "facezoo evaluate dense-1609.open-v2 data=aflw2000_9 root=DIR",
                    ),
                    _nme(
                        "dlib_18, contour, true boxes",
                        3.67,
                        "facezoo evaluate dense-1609.open-v2 data=dlib_18 root=DIR",
                    ),
                    _nme(
                        "synthetic validation",
                        3.22,
                        "python -m facezoo.train recipe=dense data.source=shards data.root=people data.validation=400 "
                        "trainer.precision=bf16 trainer.max_steps=0 trainer.max_minutes=78",
                    ),
                ),
            ),
        ),
    ),
    ModelSpec(
        name="synergynet",
        method="synergynet",
        module="facezoo.models.synergynet.predict",
        class_name="SynergyFaces",
        summary="head parameters, pose, 68 refined landmarks and a dense mesh from one crop, without any optimisation",
        paper="Wu, Xu, Neumann: Synergy between 3DMM and 3D Landmarks for Accurate 3D Facial Geometry, 3DV 2021",
        tasks=("landmarks", "reconstruction"),
        weights=(
            WeightSpec(
                tag="open-v1",
                head="open-v1",
                sha256={
                    "model.safetensors": "a7f390d57417eda33e823cfc4d03a393f1f46da8ec5c9b3fb391baae0e2ac535",
                    "config.json": "8543ff6a454f0b8436443c395871fd668c35b70694cb01090373e0f363518420",
                },
                size=6512831,
                licences=_OWN,
                trained_on="32,400 synthetic people, 45 minutes on two CPU cores, after dense-1609; no photograph",
                metrics=(
                    _nme(
                        "aflw2000_9, original labels, true boxes",
                        3.94,
                        "facezoo evaluate synergynet.open-v1 data=aflw2000_9 root=DIR",
                    ),
                    _nme(
                        "dlib_18, contour, true boxes",
                        3.91,
                        "facezoo evaluate synergynet.open-v1 data=dlib_18 root=DIR",
                    ),
                    _nme(
                        "synthetic validation",
                        3.40,
                        "python -m facezoo.train recipe=synergynet data.source=shards data.root=people "
                        "data.validation=400 trainer.precision=bf16 trainer.max_steps=0 trainer.max_minutes=45",
                    ),
                ),
            ),
        ),
    ),
    ModelSpec(
        name="deca",
        method="deca",
        module="facezoo.models.deca.predict",
        class_name="Deca",
        summary="a head with albedo, light and camera from one crop, and wrinkles that move with expression",
        paper="Feng, Feng, Black, Bolkart: Learning an Animatable Detailed 3D Face Model, SIGGRAPH 2021",
        tasks=("reconstruction", "landmarks"),
        weights=(),
    ),
    ModelSpec(
        name="skull-stabilizer",
        method="stabilizer",
        module="facezoo.models.stabilizer.predict",
        class_name="SkullStabilizer",
        summary="the rigid transform between the skulls of two registered meshes of one person; holds sequences still",
        paper="Bednarik et al. 2024, Learning to Stabilize Faces, arXiv 2411.15074",
        tasks=("stabilization",),
        weights=(
            WeightSpec(
                tag="open-v1",
                head="open-v1",
                sha256={
                    "model.safetensors": "c7c4e8f71f68f986c46c174144caae746b4e6128889b21ab4b5ae55211baaeb4",
                    "config.json": "e0dc379b31e1793131327ab0d5711fd66fe29a699643daef8ab9715716e465ea",
                },
                size=1271993,
                licences=_OWN,
                trained_on="1,536,000 pairs of synthetic meshes of the open head, 8 minutes on one CPU core; no scan",
                metrics=(
                    Measurement(
                        "md upper face, mm",
                        "held-out synthetic pairs",
                        0.2,
                        "facezoo evaluate skull-stabilizer.open-v1 data=synthetic count=128 unpose=16",
                    ),
                ),
            ),
        ),
    ),
)

# Weights that a better training replaced before the first release.
_DEPRECATED = {"dense-1609.open-v1": "dense-1609.open-v2"}

CATALOG = Catalog(_MODELS, _DEPRECATED)


def entries() -> list[Entry]:
    """Return every model with every of its weights, in catalogue order."""
    return CATALOG.entries()


def list_models(
    pattern: str = "*",
    *,
    task: str | None = None,
    licence: str | None = None,
    head: str | None = None,
    commercial: bool | None = None,
) -> list[str]:
    """List full ids, optionally filtered.

    Args:
        pattern: shell wildcard over full ids and bare names, e.g. ``"dense-*"``.
        task: only models for this; one of ``facezoo.catalog.TASKS``.
        licence: only weights under this licence, an SPDX id; wildcards and any case are understood (``"cc-by-*"``).
        head: only weights for this head id.
        commercial: only (True) or no (False) weights whose code, weights, head and data may all be used commercially.

    Raises:
        UnknownNameError: no such task; the message names the nearest.
    """
    return CATALOG.list_models(pattern, task=task, licence=licence, head=head, commercial=commercial)


def info(name: str) -> Entry:
    """Return the catalogue entry of ``name`` or ``name.tag``.

    It says where the weights are and how large, four licences, measured numbers with the commands that made them,
    and the paper. A deprecated name is answered with its successor and a ``FutureWarning`` that names it.

    Raises:
        UnknownNameError: no such model or tag; the message names the nearest.
        AssetError: the model has no published weights.
    """
    return CATALOG.info(name)


def licences_from(values: object) -> Licences | None:
    """Read the ``licences`` section of a config.json; None if one of the four is missing."""
    if not isinstance(values, Mapping):
        return None
    texts = [str(values.get(part) or "").strip() for part in ("code", "weights", "head", "data")]
    return Licences(*texts) if all(texts) else None
