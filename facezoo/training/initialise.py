"""The model a run begins with: untrained or from given weights, some parts frozen, and the report of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from facezoo.config import Recipe, method_of
from facezoo.data.augment import Augment
from facezoo.data.datamodule import FaceDataModule
from facezoo.data.statistics import measure_targets
from facezoo.errors import RecipeError
from facezoo.heads import load_head
from facezoo.hub import Checkpoint, resolve
from facezoo.mesh.io.atomic import write_json
from facezoo.models.base import ZooModel, read_config
from facezoo.training.inheritance import Inheritance, inherit_weights, nothing_inherited
from facezoo.training.lineage import ancestry, combine, data_licence, describe_parent, own_licences

REPORT = "init.json"
# Fields that fetch weights for a model from scratch, and their values when they shall not.
_FETCHING: dict[str, Any] = {"pretrained": False, "features_from": ""}
# Fields that change no weight: those, what only training does, and a calibration that training undoes.
_FREE = {*_FETCHING, "dropout", "sigma_scale"}
# Fields that follow the data, so that no override mends them.
_FROM_DATA = {"n_identity", "n_expression"}


def build_model(recipe: Recipe, *, resumed: bool = False) -> tuple[ZooModel, Augment]:
    """Build the model of a recipe, untrained, with its frozen parts, and its training augmentation.

    Args:
        recipe: ``init.freeze`` names the frozen parts; weights are loaded by :func:`initialise`.
        resumed: a checkpoint will bring all weights, so that no backbone is fetched.

    Raises:
        UnknownNameError: ``init.freeze`` names a module that does not exist.
        RecipeError: nothing would be left to train, or frozen parts would never have been trained.
    """
    scratch, config = recipe.init.scratch, recipe.model
    fetching = {name: off for name, off in _FETCHING.items() if getattr(config, name, off) != off}
    if resumed or not scratch:
        config = dataclasses.replace(config, **fetching)
    model = method_of(recipe.model.name).model_class().for_training(config)
    if recipe.init.freeze:
        if scratch and not fetching:
            raise RecipeError(
                f"init.freeze={_list(recipe.init.freeze)} would keep random weights as they are; "
                "add init=NAME (`facezoo list`) or leave it out"
            )
        model.freeze(recipe.init.freeze)
        if not any(p.requires_grad for p in model.parameters()):
            raise RecipeError(
                f"init.freeze={_list(recipe.init.freeze)} leaves nothing to train; name fewer parts"
            )
    return model, model.augmentation(recipe)


def initialise(
    model: ZooModel, augment: Augment, data: FaceDataModule, recipe: Recipe, run_dir: Path
) -> None:
    """Give a built model its first weights; print where they come from and write it to ``init.json``.

    From scratch, output layers start from statistics of the training targets. From given weights, all are loaded; with
    ``init.rehead=true`` the ones that fit are, rows of shared vertices and components are copied, and the rest starts
    as from scratch.

    Raises:
        UnknownNameError, AssetError: ``init`` names no checkpoint, or a damaged one.
        RecipeError: its sizes are not the recipe's, key by key.
    """
    own = own_licences(load_head(recipe.model.head).licence, data_licence(data))
    if recipe.init.scratch:
        start_from_data(model, data, augment, recipe)
        _record(run_dir, model, recipe, nothing_inherited(model), {}, from_scratch(recipe, own))
        return
    parent, origin = _load_parent(recipe, own)
    check_fits(parent, recipe)
    changed = _differences(parent, recipe)
    if changed:
        start_from_data(model, data, augment, recipe)
    found = inherit_weights(model, parent)
    untrained = [n for n, p in model.named_parameters() if n in found.new and not p.requires_grad]
    if untrained:
        raise RecipeError(
            f"init.freeze={_list(recipe.init.freeze)} would keep weights as they are that init={recipe.init.weights} "
            f"has nothing for ({', '.join(untrained[:3])}); leave their part out of init.freeze"
        )
    _record(run_dir, model, recipe, found, changed, origin)


def resume(model: ZooModel, data: FaceDataModule, recipe: Recipe, run_dir: Path) -> None:
    """Check that a run goes on as it began; what ``init`` names is not read again.

    Raises:
        RecipeError: other parts are frozen than when the run began.
    """
    own = own_licences(load_head(recipe.model.head).licence, data_licence(data))
    record = _read(run_dir)
    if record is None:  # begun by a version that wrote no report
        origin = from_scratch(recipe, own) if recipe.init.scratch else _load_parent(recipe, own)[1]
        _write(run_dir, {"init": recipe.init.weights, "frozen": list(model.frozen), **origin})
        return
    if record["frozen"] != list(model.frozen):
        raise RecipeError(
            f"init.freeze={_list(recipe.init.freeze)} is not what {run_dir} began with ({_list(record['frozen'])}); "
            "keep it, or start over with trainer.resume=never"
        )
    if record["init"] != recipe.init.weights:
        _say(
            [f"init={recipe.init.weights} is not read: {run_dir} continues, begun with init={record['init']}"]
        )
    _write(run_dir, {**record, "licences": combine([record["licences"], own])})


def provenance(run_dir: Path) -> dict[str, Any]:
    """Return ``lineage`` and ``licences`` of a run for the config.json of its export."""
    record = _read(run_dir) or {}
    return {key: record[key] for key in ("lineage", "licences") if key in record}


def check_fits(parent: ZooModel, recipe: Recipe) -> None:
    """Refuse given weights whose sizes are not the recipe's, naming every key.

    With ``init.rehead=true`` only the fields in :attr:`ZooModel.body` must agree.
    """
    wrong = {
        name: values
        for name, values in _differences(parent, recipe).items()
        if not recipe.init.rehead or name in parent.body
    }
    if not wrong:
        return
    listed = "; ".join(
        f"model.{name}={given!r} but the recipe says {wanted!r}" for name, (given, wanted) in wrong.items()
    )
    keys = " ".join(
        f"model.{name}={str(given).replace(' ', '')}"
        for name, (given, _) in wrong.items()
        if name not in _FROM_DATA
    )
    cures = [f"add {keys}"] if keys else []
    if parent.body.isdisjoint(wrong):
        cures.append("init.rehead=true loads what fits and starts the rest anew")
    raise RecipeError(f"init={recipe.init.weights} has {listed}; {', or '.join(cures)}")


def start_from_data(model: ZooModel, data: FaceDataModule, augment: Augment, recipe: Recipe) -> None:
    """Initialise output layers with statistics of augmented training targets, or as other data than pictures say."""
    if not isinstance(data, FaceDataModule):
        data.start(model, augment)
        return

    def targets() -> list[tuple[Tensor, Tensor]]:
        batches = data.label_batches(recipe.data.statistics, optional=model.measured)
        return [model.targets(augment.targets(b, seed=i)) for i, b in enumerate(batches)]

    model.start_from(measure_targets(targets(), rank=getattr(model.config, "rank", 256)))


def from_scratch(recipe: Recipe, own: dict[str, str | None]) -> dict[str, Any]:
    """Return lineage and licences without a parent, or with the one whose features the model begins with."""
    given = getattr(recipe.model, "features_from", "")
    if given:
        return _descent(resolve(given), own)
    return {"lineage": {"base_model": None, "parents": []}, "licences": own}


def _load_parent(recipe: Recipe, own: dict[str, str | None]) -> tuple[ZooModel, dict[str, Any]]:
    """Return the verified parent, and lineage and licences of what is trained from it."""
    checkpoint = resolve(recipe.init.weights)
    checkpoint.verify()
    parent: ZooModel = method_of(recipe.model.name).model_class().from_pretrained(checkpoint.folder)
    return parent, _descent(checkpoint, own)


def _descent(checkpoint: Checkpoint, own: dict[str, str | None]) -> dict[str, Any]:
    """Return lineage and licences of what is trained from a checkpoint."""
    parent = describe_parent(checkpoint)
    return {
        "lineage": ancestry(parent, read_config(checkpoint.folder)),
        "licences": combine([parent["licences"], own]),
    }


def _differences(parent: ZooModel, recipe: Recipe) -> dict[str, list[Any]]:
    """Return field -> the parent's value and the recipe's, where they differ."""
    return {
        field.name: [getattr(parent.config, field.name), getattr(recipe.model, field.name)]
        for field in dataclasses.fields(parent.config)
        if field.name not in _FREE and getattr(parent.config, field.name) != getattr(recipe.model, field.name)
    }


def _record(
    run_dir: Path,
    model: ZooModel,
    recipe: Recipe,
    found: Inheritance,
    changed: dict[str, list[Any]],
    origin: dict[str, Any],
) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    _write(
        run_dir,
        {
            "init": recipe.init.weights,
            "changed": changed,
            "frozen": list(model.frozen),
            "parameters": {"trained": trained, "frozen": frozen},
            **found.to_dict(),
            **origin,
        },
    )
    if recipe.init.scratch:
        return
    parent = origin["lineage"]["parents"][-1]
    lines = [f"init {origin['lineage']['base_model']} (sha256 {parent['sha256'][:16]}...)"]
    lines += [f"  model.{name}: {given} -> {wanted}" for name, (given, wanted) in changed.items()]
    lines += found.lines()
    lines.append(f"  {trained:,} parameters train, {frozen:,} are frozen {_list(model.frozen)}")
    terms = ", ".join(f"{part} {term or 'not stated'}" for part, term in origin["licences"].items())
    lines.append(f"  licences: {terms}")
    _say(lines)


@rank_zero_only
def _write(run_dir: Path, values: dict[str, Any]) -> None:
    write_json(run_dir / REPORT, values)


def _read(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / REPORT
    return json.loads(path.read_text()) if path.is_file() else None


@rank_zero_only
def _say(lines: list[str]) -> None:
    print("\n".join(lines), flush=True)


def _list(names: Any) -> str:
    return f"[{','.join(names)}]"
