"""Who the weights come from and under which terms: never less strict than a parent or the data, from run to card."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from finetune_fakes import read_json, small, trained, write_data

from facezoo.catalog import CATALOG, Licences
from facezoo.config import load_recipe, to_yaml
from facezoo.errors import AssetError, RecipeError, UnknownNameError
from facezoo.hub import resolve, sha256_of
from facezoo.training.initialise import from_scratch
from facezoo.training.lineage import FREE, combine, data_licence, describe_parent, strictest
from facezoo.training.run import train

NC = "CC-BY-NC-4.0"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), licence="MIT")


@pytest.fixture(scope="module")
def parent(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(data, tmp_path_factory.mktemp("parent"), "trainer.max_steps=1")


def test_the_strictest_licence_wins_in_any_order() -> None:
    for terms in itertools.permutations(("CC0-1.0", "MIT", "CC-BY-4.0")):
        assert strictest(terms) == "CC-BY-4.0"
    assert strictest(["CC0-1.0", "CC0-1.0"]) == "CC0-1.0"
    for free in FREE:
        assert strictest([free, NC]) == strictest([NC, free]) == NC
        assert Licences(free, free, free, free).commercial
        assert not Licences("MIT", strictest([free, NC]) or "", "MIT", "MIT").commercial
    both = strictest([NC, "CC0-1.0", "research only"])
    assert (
        both == f"{NC} AND research only" == strictest([both, NC])
    )  # nothing restrictive is lost or said twice
    assert strictest([None, "MIT"]) is None and strictest([]) is None  # what nobody stated is not free
    assert strictest([None, NC]) == NC
    assert combine([{"weights": "MIT", "data": NC}, {"weights": "CC0-1.0", "data": "MIT"}])["data"] == NC


def test_lineage_and_licences_land_in_config_json_over_generations(
    data: Path, parent: Path, tmp_path: Path
) -> None:
    first = read_json(parent / "config.json")
    assert first["lineage"] == {"base_model": None, "parents": []}
    # nobody stated the terms of the toy shards; the head's are its file's
    assert first["licences"] == {"code": "Apache-2.0", "weights": None, "head": "MIT", "data": None}
    first["licences"] = {"code": "MIT", "weights": NC, "head": "CC0-1.0", "data": "CC-BY-4.0"}
    stated = shutil.copytree(parent, tmp_path / "stated")
    (stated / "config.json").write_text(json.dumps(first))
    second = trained(data, tmp_path / "b", f"init={stated}", "trainer.max_steps=1")
    third = trained(data, tmp_path / "c", f"init={second}", "trainer.max_steps=1")
    child = read_json(third / "config.json")
    parents = child["lineage"]["parents"]
    assert [p["sha256"] for p in parents] == [sha256_of(f / "model.safetensors") for f in (stated, second)]
    assert [p["path"] for p in parents] == [str(stated), str(second)]
    assert parents[0]["licences"] == first["licences"] and child["lineage"]["base_model"] == str(second)
    assert child["licences"] == {"code": "Apache-2.0", "weights": NC, "head": "MIT", "data": None}
    assert read_json(tmp_path / "c" / "init.json")["licences"] == child["licences"]


def test_catalogued_weights_are_known_by_their_digest_wherever_they_lie(tmp_path: Path) -> None:
    entry = CATALOG.info("dense-1609")
    moved = shutil.copytree(entry.folder, tmp_path / "moved")
    for name in ("dense-1609", "dense-1609.open-v2", str(moved)):
        known = describe_parent(resolve(name))
        assert known["id"] == entry.id and known["sha256"] == entry.weights.sha256["model.safetensors"]
        assert known["licences"]["weights"] == "CC0-1.0"
    with pytest.raises(UnknownNameError, match="dense-1609"):
        resolve("dense-1690")


def test_features_of_another_method_are_a_parent(data: Path, parent: Path) -> None:
    own = {"code": "Apache-2.0", "weights": NC, "head": "MIT", "data": NC}
    given = from_scratch(load_recipe("synergynet", ["model.features_from=dense-1609"]), own)
    assert given["lineage"]["base_model"] == "dense-1609.open-v2" and len(given["lineage"]["parents"]) == 1
    assert given["licences"] == {**own}  # the parent's are freer
    unstated = from_scratch(
        load_recipe("synergynet", [f"model.features_from={parent}"]), {**own, "weights": "MIT"}
    )
    assert unstated["licences"]["weights"] is None  # nobody stated the parent's
    none = from_scratch(load_recipe("synergynet", ["model.features_from=''"]), own)
    assert none == {"lineage": {"base_model": None, "parents": []}, "licences": own}


def test_a_relative_folder_does_not_read_like_a_repo(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(parent, tmp_path / "runs" / "a")
    monkeypatch.chdir(tmp_path)
    assert describe_parent(resolve("runs/a"))["path"] == "./runs/a"


def test_terms_of_data(data: Path, tmp_path: Path) -> None:
    from dense_fakes import toy_samples

    from facezoo.data.datamodule import DataConfig, FaceDataModule
    from facezoo.data.shards import write_shard
    from facezoo.heads import load_head

    assert data_licence(FaceDataModule(DataConfig(), 0)) == "CC0-1.0"
    assert data_licence(FaceDataModule(DataConfig("shards", str(data), validation=8), 0)) is None
    samples = toy_samples(load_head(str(data / "toy.safetensors")), 4)
    size = samples["images"].shape[-1]
    for name, meta, expected in (
        ("stated", {"head_id": "toy", "licence": NC}, NC),
        ("rendered", {"head_id": "open-v1", "synth_version": "1"}, "CC0-1.0"),
        ("open", {"head_id": "open-v1"}, None),
        ("licensed head", {"head_id": "flame-2020", "synth_version": "1"}, None),
    ):
        write_shard(tmp_path / name, 0, samples, {**meta, "size": size})
        config = DataConfig("shards", str(tmp_path / name), validation=1)
        assert data_licence(FaceDataModule(config, 0)) == expected, name


def test_tampered_weights_are_refused(data: Path, parent: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(parent, tmp_path / "copy")
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(AssetError, match="sha256"):
        trained(data, tmp_path / "run", f"init={copy}")


def test_init_is_a_name_or_a_table(tmp_path: Path) -> None:
    assert (
        load_recipe("dense").init.scratch
        and load_recipe("dense", ["init=a/b@main"]).init.weights == "a/b@main"
    )
    tuned = load_recipe("dense", ["init=x", "init.freeze=[features,neck]", "init.rehead=true"])
    assert (tuned.init.weights, tuned.init.freeze, tuned.init.rehead) == ("x", ["features", "neck"], True)
    (tmp_path / "table.yaml").write_text("base: dense\ninit:\n  weights: y\n  freeze: [features]\n")
    (tmp_path / "name.yaml").write_text("base: dense\ninit: z\nloss: gaussian\n")
    table = load_recipe(str(tmp_path / "table.yaml"), ["init=other"])
    assert (table.init.weights, table.init.freeze) == ("other", ["features"])
    named = load_recipe(str(tmp_path / "name.yaml"), ["init.freeze=[params]"])
    assert (named.init.weights, named.init.freeze, named.loss.name) == ("z", ["params"], "gaussian")
    (tmp_path / "again.yaml").write_text(to_yaml(table))
    assert load_recipe(str(tmp_path / "again.yaml")) == table


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("init.freze=[a]", "'init.freeze'"),
        ("init.rehead=maybe", "init.rehead"),
        ("init.freeze=features", "init.freeze"),
    ],
)
def test_wrong_init_keys_name_the_nearest(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("dense", [override])


def test_init_with_a_name_that_does_not_exist(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'dense-1609'"):
        train(small(data, tmp_path, "init=dens-1609"))
