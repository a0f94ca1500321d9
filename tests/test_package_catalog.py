"""Names become checkpoints, published tags never change, and files that are not the pinned ones are refused by name."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from pathlib import Path

import pytest
from predict_fakes import toy_model

from facezoo import catalog, hub
from facezoo.catalog import CATALOG, TASKS, Catalog, Licences
from facezoo.cli import main
from facezoo.errors import AssetError, InputError, UnknownNameError
from facezoo.hub.verify import sha256_of, verify_files
from facezoo.models.load import load, pick_device

# Every tag that was ever published, with the digest of its weights. Lines are added, never changed: new weights get a
# new tag, and a tag that goes away needs an entry in the catalogue's ``deprecated``.
PUBLISHED = {
    "dense-1609.open-v1": "9d679f3e2f3bd20755f442182a9c1f6bf0c94227f73c91fcee164e57346a9763",
    "dense-1609.open-v2": "0f802e76cb9b36eebdd492f204b22854d0a3717f6affe8d56e97f1c155f52529",
    "synergynet.open-v1": "a7f390d57417eda33e823cfc4d03a393f1f46da8ec5c9b3fb391baae0e2ac535",
    "deca.open-v1": "afbfd36846be2833cf9dd9720126825279f426be0bd913d43c01ab24a4f0db6c",
    "flowface.open-v1": "9283132b8787c059125284d516ae014b5e01a2f56b010b48897b073d374c0372",
    "skull-stabilizer.open-v1": "c7c4e8f71f68f986c46c174144caae746b4e6128889b21ab4b5ae55211baaeb4",
    "skull-stabilizer.open-v2": "7ad288dc331f1d0a683f1a73af0c4ae2c278cf0f9ecd0f1e765442bb173352c5",
}


def test_a_published_tag_keeps_its_bytes_for_ever() -> None:
    now = {entry.id: entry.weights.sha256["model.safetensors"] for entry in catalog.entries()}
    for name, digest in PUBLISHED.items():
        assert now.get(name) == digest or name in CATALOG.deprecated
    assert set(now) <= set(PUBLISHED), "list the new tag here, so that it can never change"


def test_every_entry_is_complete() -> None:
    for entry in catalog.entries():
        assert entry.id == f"{entry.model.name}.{entry.weights.tag}"
        assert set(entry.weights.sha256) == {"model.safetensors", "config.json"}
        for text in (entry.model.summary, entry.model.paper, entry.weights.trained_on, entry.weights.head):
            assert text
        assert set(entry.model.tasks) <= set(TASKS)
        assert entry.weights.metrics
        for measured in entry.weights.metrics:
            assert measured.value > 0
            assert re.match(r"facezoo evaluate |python -m facezoo\.train ", measured.command)
            assert measured.data
        for licence in dataclasses.astuple(entry.weights.licences):
            assert licence


def test_wildcards_and_filters_choose() -> None:
    every = catalog.list_models()
    assert "dense-1609.open-v2" in every
    assert catalog.list_models("dense-*") == [name for name in every if name.startswith("dense-")]
    assert catalog.list_models("nothing-*") == []
    assert catalog.list_models(head="no-such-head") == []
    assert set(catalog.list_models(commercial=True)) | set(catalog.list_models(commercial=False)) == set(
        every
    )


def test_task_and_licence_filter(capsys: pytest.CaptureFixture[str]) -> None:
    table = _table()
    assert table.list_models() == ["one.v2", "one.v1", "two.v1"]
    assert table.list_models(task="tracking") == ["two.v1"]
    assert table.list_models("one", licence="cc0-1.0") == ["one.v2", "one.v1"]
    assert table.list_models(licence="CC-BY-*") == ["two.v1"]
    assert table.list_models(commercial=False) == ["two.v1"]
    assert table.list_models("*.v1", commercial=True) == ["one.v1"]
    with pytest.raises(UnknownNameError, match="Did you mean 'landmarks'"):
        catalog.list_models(task="landmark")
    options = "--task landmarks --licence cc0* --head open-v1 --commercial --json"
    assert main(["list", *options.split()]) == 0
    listed = catalog.list_models(task="landmarks", licence="CC0-1.0", head="open-v1", commercial=True)
    assert json.loads(capsys.readouterr().out) == listed
    assert main(["list", "--task", "poetry"]) == 2
    assert "tracking" in capsys.readouterr().err


def test_info_says_how_every_number_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    entry = catalog.info("dense-1609.open-v2")
    assert main(["info", entry.id, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["metrics"] == [dataclasses.asdict(measured) for measured in entry.weights.metrics]
    assert values["size"] == sum((entry.folder / name).stat().st_size for name in entry.weights.sha256)
    assert main(["info", entry.id]) == 0
    shown = capsys.readouterr().out
    for measured in entry.weights.metrics:
        assert measured.command in shown
    assert entry.model.paper in shown


def _table(**changes: object) -> Catalog:
    """Two models, three weights, one old name."""
    model = CATALOG["dense-1609"]
    weights = dataclasses.replace(model.weights[0], tag="v1")
    unfree = Licences("Apache-2.0", "CC-BY-NC-4.0", "CC0-1.0", "CC0-1.0")
    one = dataclasses.replace(model, name="one", weights=(dataclasses.replace(weights, tag="v2"), weights))
    two = dataclasses.replace(
        model, name="two", tasks=("tracking",), weights=(dataclasses.replace(weights, licences=unfree),)
    )
    return dataclasses.replace(Catalog((one, two), {"uno": "one", "one.v0": "one.v1"}), **changes)


def test_an_old_name_forwards_and_names_the_new_one() -> None:
    table = _table()
    with pytest.warns(FutureWarning, match="'uno' is deprecated and stands for 'one'"):
        assert table.info("uno").id == "one.v2"
    with pytest.warns(FutureWarning, match="use 'one.v1'"):
        assert table.info("one.v0").id == "one.v1"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert table.info("one").id == "one.v2"
        assert table.list_models("uno") == []  # not listed, only understood


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: dataclasses.replace(t, models=t.models * 2), "twice"),
        (lambda t: dataclasses.replace(t, deprecated={"old": "gone"}), "'gone' must exist"),
        (lambda t: dataclasses.replace(t, deprecated={"one": "two"}), "'one' must be free"),
        (lambda t: _with_model(t, tasks=("poetry",)), "poetry"),
        (lambda t: _with_model(t, tasks=()), "task"),
        (lambda t: _with_weights(t, sha256={"model.safetensors": "0" * 64}), "config.json"),
        (lambda t: _with_weights(t, embedded=False), "is not embedded"),
        (lambda t: _with_weights(t, embedded=False, repo="a/b", revision="main"), "full commit"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(spoil, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spoil(_table())


def _with_model(table: Catalog, **changes: object) -> Catalog:
    first, *others = table.models
    return dataclasses.replace(table, models=(dataclasses.replace(first, **changes), *others))


def _with_weights(table: Catalog, **changes: object) -> Catalog:
    first = table.models[0]
    return _with_model(table, weights=(dataclasses.replace(first.weights[0], **changes), *first.weights[1:]))


def test_a_method_without_weights_reads_folders_and_is_not_listed() -> None:
    table = _table()
    table = dataclasses.replace(
        table, models=(*table.models, dataclasses.replace(table["one"], name="new", weights=()))
    )
    assert table.list_models("new*") == []
    assert table.knows("new")
    for name in ("new", "new.v1"):
        with pytest.raises(AssetError, match=r"new has no published weights yet.*facezoo\.train"):
            table.info(name)


def test_a_name_without_tag_is_the_first_tag() -> None:
    assert catalog.info("dense-1609").id == "dense-1609.open-v2"
    assert catalog.info("dense-1609.open-v2").id == "dense-1609.open-v2"


@pytest.mark.parametrize("name", ["dense-1690", "dense1609", "dense-1609.open-v9", ""])
def test_an_unknown_model_names_the_nearest(name: str) -> None:
    with pytest.raises(UnknownNameError, match="dense-1609") as caught:
        catalog.info(name)
    assert "facezoo list" in str(caught.value)


def test_a_tampered_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"as published")
    digests = {"model.safetensors": sha256_of(tmp_path / "model.safetensors")}
    verify_files(tmp_path, digests, "dense-1609.open-v2")
    (tmp_path / "model.safetensors").write_bytes(b"as published?")
    with pytest.raises(AssetError, match=r"model\.safetensors is damaged"):
        verify_files(tmp_path, digests, "dense-1609.open-v2")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(AssetError, match=r"model\.safetensors is missing"):
        verify_files(tmp_path, digests, "dense-1609.open-v2")


def test_a_folder_loads_and_predicts_the_same(tmp_path: Path) -> None:
    model = toy_model(tmp_path)
    model.save_pretrained(tmp_path / "weights")
    twin = load(tmp_path / "weights", device="cpu")
    assert twin.model_id == str(tmp_path / "weights")
    assert not twin.training
    for (name, value), (other, again) in zip(
        model.state_dict().items(), twin.state_dict().items(), strict=True
    ):
        assert name == other
        assert value.equal(again)


def test_a_checkpoint_carries_no_head(tmp_path: Path) -> None:
    model = toy_model(tmp_path)
    assert model.head.n_vertices > 0  # loaded, so that it could leak
    assert [
        key for key in model.state_dict() if "head" in key or "shapedirs" in key or "template" in key
    ] == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json"),
        (lambda folder: (folder / "config.json").write_text('{"method": "dence", "config": {}}'), "dence"),
        (lambda folder: _flip_a_byte(folder / "model.safetensors"), "model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "model.safetensors"),
    ],
)
def test_a_broken_folder_is_refused_in_one_sentence(tmp_path: Path, damage, message: str) -> None:
    folder = tmp_path / "weights"
    toy_model(tmp_path).save_pretrained(folder)
    damage(folder)
    with pytest.raises((AssetError, UnknownNameError), match=message):
        load(folder)


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def test_no_other_weights_are_ever_substituted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facezoo.catalog.specs.WEIGHTS_ROOT", tmp_path)
    with pytest.raises(AssetError, match=r"dense-1609\.open-v2"):
        load("dense-1609")
    with pytest.raises(AssetError, match="no checkpoint folder"):
        load(tmp_path / "nowhere")


def test_embedded_weights_are_the_pinned_ones() -> None:
    for entry in catalog.entries():
        if not entry.folder.is_dir():
            pytest.skip(f"{entry.id} has not been trained yet: {entry.folder} is missing")
        hub.resolve(entry.id).verify()
        assert sum(file.stat().st_size for file in entry.folder.iterdir()) <= 12_000_000
        assert json.loads((entry.folder / "config.json").read_text())["method"] == entry.model.method


def test_a_missing_device_is_no_silent_cpu() -> None:
    assert pick_device("cpu").type == "cpu"
    for name in ("tpu", "cuda:77"):
        with pytest.raises(InputError, match=name):
            pick_device(name)
