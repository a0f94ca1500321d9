"""Names become checkpoints, and files that are not what the catalogue pins are refused by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from predict_fakes import toy_model

from facezoo import catalog, hub
from facezoo.errors import AssetError, InputError, UnknownNameError
from facezoo.hub.verify import sha256_of, verify_files
from facezoo.models.load import load, pick_device


def test_every_entry_is_complete() -> None:
    for entry in catalog.entries():
        assert entry.id == f"{entry.model.name}.{entry.weights.tag}"
        assert set(entry.weights.sha256) == {"model.safetensors", "config.json"}
        for text in (entry.model.summary, entry.model.paper, entry.weights.trained_on, entry.weights.head):
            assert text
        for licence in dataclasses.astuple(entry.weights.licences):
            assert licence


def test_wildcards_and_filters_choose() -> None:
    every = catalog.list_models()
    assert "dense-1609.open-v1" in every
    assert catalog.list_models("dense-*") == [name for name in every if name.startswith("dense-")]
    assert catalog.list_models("nothing-*") == []
    assert catalog.list_models(head="no-such-head") == []
    assert set(catalog.list_models(commercial=True)) | set(catalog.list_models(commercial=False)) == set(
        every
    )


def test_a_name_without_tag_is_the_first_tag() -> None:
    assert catalog.info("dense-1609").id == "dense-1609.open-v1"
    assert catalog.info("dense-1609.open-v1").id == "dense-1609.open-v1"


@pytest.mark.parametrize("name", ["dense-1690", "dense1609", "dense-1609.open-v9", ""])
def test_an_unknown_model_names_the_nearest(name: str) -> None:
    with pytest.raises(UnknownNameError, match="dense-1609") as caught:
        catalog.info(name)
    assert "facezoo list" in str(caught.value)


def test_a_tampered_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"as published")
    digests = {"model.safetensors": sha256_of(tmp_path / "model.safetensors")}
    verify_files(tmp_path, digests, "dense-1609.open-v1")
    (tmp_path / "model.safetensors").write_bytes(b"as published?")
    with pytest.raises(AssetError, match=r"model\.safetensors is damaged"):
        verify_files(tmp_path, digests, "dense-1609.open-v1")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(AssetError, match=r"model\.safetensors is missing"):
        verify_files(tmp_path, digests, "dense-1609.open-v1")


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
    monkeypatch.setattr(catalog, "WEIGHTS_ROOT", tmp_path)
    with pytest.raises(AssetError, match=r"dense-1609\.open-v1"):
        load("dense-1609")
    with pytest.raises(AssetError, match="no checkpoint folder"):
        load(tmp_path / "nowhere")


def test_embedded_weights_are_the_pinned_ones() -> None:
    for entry in catalog.entries():
        if not entry.folder.is_dir():
            pytest.skip(f"{entry.id} has not been trained yet: {entry.folder} is missing")
        hub.resolve(entry.id).verify()
        assert sum(file.stat().st_size for file in entry.folder.iterdir()) <= 10_000_000
        assert (
            json.loads((entry.folder / "config.json").read_text())["method"]
            == entry.model.method
        )


def test_a_missing_device_is_no_silent_cpu() -> None:
    assert pick_device("cpu").type == "cpu"
    for name in ("tpu", "cuda:77"):
        with pytest.raises(InputError, match=name):
            pick_device(name)
