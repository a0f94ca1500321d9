"""Recipes: one flat YAML a run; load, override, check every key and type, resolve. No work starts from a wrong recipe.

A recipe's sections always come in the same order: base, model, loss, data, optim, trainer, init, publish, seed. On the
command line ``section.key=value`` overrides a value, and ``section=value`` sets the section's main key
(``loss=rle`` is ``loss.name=rle``). ``smoke=true`` makes any recipe a run of half a minute (:data:`SMOKE`).
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.metadata
import platform
import re
import subprocess
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facezoo.data.datamodule import DataConfig
from facezoo.errors import RecipeError, unknown_name
from facezoo.mesh.io.atomic import write_bytes
from facezoo.training.settings import OptimConfig, TrainerConfig

SECTIONS = ("model", "loss", "data", "optim", "trainer", "init", "publish", "seed")
# What ``section=value`` means for sections that are tables.
SHORT = {"model": "name", "loss": "name", "data": "source", "optim": "name", "init": "weights"}

# Keys of the command line that stand for a longer one.
ALIASES = {"head": "model.head"}

# What ``smoke=true`` sets, before other overrides; a recipe adds its own under ``smoke:``.
SMOKE: dict[str, dict[str, Any]] = {
    "data": {"batch_size": 16, "workers": -1, "limit": 48, "validation": 16, "statistics": 64},
    "trainer": {
        "max_steps": 0,
        "max_minutes": 0.5,
        "log_every": 5,
        "validate_every": 50,
        "image_every": 100,
        "checkpoint_every": 50,
    },
}


@dataclass(frozen=True)
class Method:
    """Where a method's parts are; imported only when it is used."""

    package: str
    config: str
    loss: str
    model: str
    data: str = ""  # dataclass of the ``data`` section, if not the pictures' one

    def config_class(self) -> type:
        """Return the dataclass of the ``model`` section."""
        return getattr(importlib.import_module(f"{self.package}.config"), self.config)

    def data_class(self) -> type:
        """Return the dataclass of the ``data`` section."""
        return getattr(importlib.import_module(f"{self.package}.config"), self.data) if self.data else DataConfig

    def loss_class(self) -> type:
        """Return the dataclass of the ``loss`` section."""
        return getattr(importlib.import_module(f"{self.package}.config"), self.loss)

    def model_class(self) -> Any:
        """Return the :class:`~facezoo.models.base.ZooModel` subclass."""
        return getattr(importlib.import_module(f"{self.package}.module"), self.model)


METHODS = {
    "dense": Method("facezoo.models.dense", "DenseConfig", "DenseLossConfig", "DenseModel"),
    "flowface": Method("facezoo.models.flowface", "FlowFaceConfig", "FlowFaceLossConfig", "FlowFaceModel"),
    "deca": Method("facezoo.models.deca", "DecaConfig", "DecaLossConfig", "DecaModel"),
    "synergynet": Method("facezoo.models.synergynet", "SynergyConfig", "SynergyLossConfig", "SynergyModel"),
    "stabilizer": Method(
        "facezoo.models.stabilizer", "StabilizerConfig", "StabilizerLossConfig", "StabilizerModel", "PairConfig"
    ),
}


@dataclass
class InitConfig:
    """The recipe's ``init`` section; ``init: NAME`` is short for ``init: {weights: NAME}``.

    Attributes:
        weights: ``"scratch"``, or what :func:`facezoo.hub.resolve` finds: a zoo name, a Hub id or a folder.
        freeze: parts that do not train, by module name (``features``, ``features.backbone.stem``); their batch
            statistics stand still as well.
        rehead: allow weights of other sizes: what fits is loaded or sliced, the rest starts anew.
    """

    weights: str = "scratch"
    freeze: list[str] = field(default_factory=list)
    rehead: bool = False

    @property
    def scratch(self) -> bool:
        """True without given weights."""
        return self.weights == "scratch"


@dataclass
class PublishConfig:
    """The recipe's ``publish`` section.

    Attributes:
        half: store exported weights as float16.
    """

    half: bool = True


@dataclass
class Recipe:
    """A resolved recipe."""

    model: Any
    loss: Any
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    init: InitConfig = field(default_factory=InitConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    seed: int = 0


def method_of(name: str) -> Method:
    """Return a method by name, or fail with the nearest one."""
    if name not in METHODS:
        raise unknown_name("model.name", name, METHODS)
    return METHODS[name]


def recipe_folder() -> Path:
    """Return the folder of recipes: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "recipes", package.parent / "recipes"):
        if folder.is_dir():
            return folder
    raise RecipeError(
        f"no recipes found in {package / 'recipes'} or {package.parent / 'recipes'}; reinstall facezoo"
    )


def list_recipes() -> dict[str, str]:
    """Return the first comment line of every shipped recipe by name."""
    found = {}
    for path in sorted(recipe_folder().glob("*.yaml")):
        first = path.read_text().splitlines()[0]
        found[path.stem] = first.lstrip("# ").strip() if first.startswith("#") else ""
    return found


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe, apply overrides, and check everything.

    Args:
        name: a shipped recipe's name or a path to a YAML file.
        overrides: ``key=value`` strings with dotted keys; ``smoke=true`` is applied before the others.

    Returns:
        The resolved recipe.

    Raises:
        UnknownNameError: unknown recipe.
        RecipeError: unknown key (with the nearest), wrong type, bad YAML.
    """
    path = find_recipe(name)
    values = _read(path)
    extra = values.pop("smoke", None) or {}
    given = list(overrides)
    smoke = _wants_smoke(given)
    if smoke:
        run_dir = {"trainer": {"run_dir": f"runs/smoke-{path.stem}"}}
        values = cast(DictConfig, OmegaConf.merge(values, _smoke_of(values), run_dir, extra))
    for override in given:
        if not override.startswith("smoke="):
            _apply(values, override)
    if smoke and OmegaConf.select(values, "data.source") == "mix":  # its limits stand in its entries
        values.data.limit = 0
        for part in values.data.get("mix", []):
            part.limit = min(part.get("limit") or SMOKE["data"]["limit"], SMOKE["data"]["limit"])
    return resolve(values, str(path))


def find_recipe(name: str) -> Path:
    """Return the file of a recipe given by name or path."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise RecipeError(
                f"recipe file {name} does not exist; 'python -m facezoo.train recipe=list' names the shipped ones"
            )
        return path
    path = recipe_folder() / f"{name}.yaml"
    if not path.is_file():
        raise unknown_name("recipe", name, list_recipes(), "Or give a path ending in .yaml.")
    return path


def resolve(values: DictConfig, source: str = "recipe") -> Recipe:
    """Check a raw configuration against the sections' dataclasses and build the recipe."""
    _spread(values)
    plain = OmegaConf.to_container(values, resolve=True)
    if not isinstance(plain, dict):
        raise RecipeError(f"{source} is not a table of sections")
    model_name = (
        plain.get("model", {}).get("name", "dense") if isinstance(plain.get("model"), dict) else "dense"
    )
    method = method_of(str(model_name))
    schema = {
        "model": method.config_class(),
        "loss": method.loss_class(),
        "data": method.data_class(),
        "optim": OptimConfig,
        "trainer": TrainerConfig,
        "init": InitConfig,
        "publish": PublishConfig,
    }
    known = sorted(_keys(schema))
    for key in plain:
        if key not in SECTIONS:
            raise unknown_key(str(key), known)
    parts: dict[str, Any] = {"seed": _integer("seed", plain.get("seed", 0))}
    for section, kind in schema.items():
        given = plain.get(section) or {}
        if not isinstance(given, Mapping):
            raise RecipeError(f"{section} must be a table in {source}, got {given!r}")
        for key in _keys({section: given}):
            if re.sub(r"\[\d+\]", "[]", key) not in known:
                raise unknown_key(key, known)
        parts[section] = _build(section, kind, given)
    parts["loss"].adjust(parts["model"])
    exchanged, neighbours = (getattr(parts[name], "pictures", 1) for name in ("loss", "data"))
    if exchanged not in (1, neighbours):
        raise RecipeError(
            f"loss.pictures={exchanged} exchanges codes among as many pictures of one person, but data.pictures="
            f"{neighbours}; set data.pictures={exchanged}, or loss.pictures=1"
        )
    return Recipe(**parts)


def unknown_key(key: str, known: Iterable[str]) -> RecipeError:
    """Build the error for an unknown recipe key, naming the nearest known ones."""
    names = list(known)
    last = key.rsplit(".", 1)[-1]
    # ``learning_rate`` is nearest to nothing as a whole path, so the last part is compared on its own as well.
    sections = [] if "." in key else difflib.get_close_matches(key, (*SECTIONS, "smoke"), n=1, cutoff=0.5)
    near = (
        sections
        or difflib.get_close_matches(key, names, n=2, cutoff=0.6)
        or [
            n
            for m in difflib.get_close_matches(last, [n.rsplit(".", 1)[-1] for n in names], n=2, cutoff=0.5)
            for n in names
            if n.endswith(f".{m}")
        ]
    )
    guess = f" Did you mean {' or '.join(repr(n) for n in dict.fromkeys(near))}?" if near else ""
    section = key.split(".")[0]
    listing = [n for n in names if n.startswith(f"{section}.")] or list(SECTIONS)
    return RecipeError(f"unknown recipe key {key!r}.{guess} Known: {', '.join(listing)}.")


def to_yaml(recipe: Recipe) -> str:
    """Write a resolved recipe as YAML with all defaults, sections in order."""
    values = dataclasses.asdict(recipe)
    return OmegaConf.to_yaml(OmegaConf.create({name: values[name] for name in SECTIONS}))


def save_resolved(recipe: Recipe, folder: Path) -> None:
    """Write ``recipe.yaml`` with versions, git revision and platform in its header."""
    found = versions()
    header = [
        f"# python -m facezoo.train recipe={folder / 'recipe.yaml'}",
        f"# {', '.join(f'{k} {v}' for k, v in found.items() if k != 'git')}",
        f"# git {found['git']}",
    ]
    write_bytes(folder / "recipe.yaml", ("\n".join(header) + "\n\n" + to_yaml(recipe)).encode())


def versions() -> dict[str, str]:
    """Return what a run depends on beside its recipe: packages, Python, the system, and the git revision."""
    names = ("facezoo", "torch", "lightning", "timm", "torchmetrics", "omegaconf", "safetensors", "numpy")
    found = {name: _version(name) for name in names}
    return {**found, "python": platform.python_version(), "on": platform.platform(), "git": _git_revision()}


def _read(path: Path, depth: int = 0) -> DictConfig:
    try:
        values = OmegaConf.load(path)
    except Exception as error:  # yaml raises its own family, and OmegaConf another
        raise RecipeError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, DictConfig):
        raise RecipeError(f"{path} is not a table of sections")
    _spread(values)
    base = values.pop("base", None)
    if base is None:
        return values
    if depth:
        raise RecipeError(
            f"{path} has a base of its own; one level of 'base:' is allowed, so that a run stays readable"
        )
    beside = path.parent / f"{base}.yaml"
    below = _read(beside if beside.is_file() else find_recipe(str(base)), depth + 1)
    return cast(DictConfig, OmegaConf.merge(below, values))


def _smoke_of(values: DictConfig) -> dict[str, dict[str, Any]]:
    """Return :data:`SMOKE` without what the data of a method know nothing of."""
    method = METHODS.get(str(OmegaConf.select(values, "model.name", default="dense")))
    known = {f.name for f in dataclasses.fields(method.data_class())} if method else set(SMOKE["data"])
    return {**SMOKE, "data": {k: v for k, v in SMOKE["data"].items() if k in known}}


def _spread(values: DictConfig) -> None:
    """Write ``section: value`` out as the table it is short for."""
    for section, key in SHORT.items():
        if isinstance(values.get(section), str | int | float):
            values[section] = {key: values[section]}


def _wants_smoke(overrides: Iterable[str]) -> bool:
    """Read ``smoke=true`` or ``smoke=false`` among the overrides; the last one counts."""
    found = False
    for override in overrides:
        key, equals, text = override.partition("=")
        if key == "smoke" and equals:
            if text.lower() not in ("true", "false"):
                raise RecipeError(f"smoke is wrong: {text!r}; expected smoke=true or smoke=false")
            found = text.lower() == "true"
    return found


def _apply(values: DictConfig, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {override!r} is not of the form key=value")
    key = ALIASES.get(key, key)
    if key in SHORT:
        key = f"{key}.{SHORT[key]}"
    try:
        value = cast(DictConfig, OmegaConf.create(f"v: {text}" if text else "v: ''"))["v"]
        OmegaConf.update(values, key, value, merge=False)
    except Exception as error:
        raise RecipeError(f"override {override!r} cannot be applied: {error}") from error


def _build(section: str, kind: type, given: Mapping[str, Any]) -> Any:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.create(dict(given)))
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or ""
        name = f"{section}.{key}" if key else section
        for entry in dataclasses.fields(kind):  # OmegaConf forgets which list an item was in
            if _item_table(kind, entry.name) is getattr(error, "object_type", kind):
                name = f"{section}.{entry.name}[].{key}"
        reason = (getattr(error, "msg", None) or str(error)).splitlines()[0]
        raise RecipeError(f"{name} is wrong: {reason}") from error


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RecipeError(f"{name} is wrong: {value!r} is not an integer")
    return value


def _keys(sections: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """List all dotted keys of nested dataclass types or mappings; ``a[].b`` or ``a[0].b`` for tables in lists."""
    for name, kind in sections.items():
        path = f"{prefix}{name}"
        inner: Mapping[str, Any] | None = None
        if isinstance(kind, Mapping):
            inner = kind
        elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
            probe = {f.name: f for f in dataclasses.fields(kind)}
            inner = {n: f.default_factory if _is_table(f) else None for n, f in probe.items()}
            items = {f"{n}[]": table for n in probe if (table := _item_table(kind, n)) is not None}
            yield from _keys(items, f"{path}.")
        elif isinstance(kind, list):
            tables = {f"{name}[{i}]": item for i, item in enumerate(kind) if isinstance(item, Mapping)}
            yield from _keys(tables, prefix)
        if inner is None:
            yield path
        else:
            yield from _keys(inner, f"{path}.")


def _is_table(entry: dataclasses.Field[Any]) -> bool:
    return isinstance(entry.default_factory, type) and dataclasses.is_dataclass(entry.default_factory)


def _item_table(kind: type, name: str) -> type | None:
    """Return the dataclass that the items of a list-valued field are, None for other fields."""
    hint = typing.get_type_hints(kind)[name]
    item = typing.get_args(hint)[0] if typing.get_origin(hint) is list else None
    return item if isinstance(item, type) and dataclasses.is_dataclass(item) else None


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed as a package)"


def _git_revision() -> str:
    folder = Path(__file__).resolve().parent
    try:
        out = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return out.stdout.strip() or "unknown"
