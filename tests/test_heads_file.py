"""Head files: round trip, reproducible bytes, and every way a file can be wrong; head names."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from heads_synthetic import random_head

from facezoo.errors import AssetError, InputError, UnknownNameError
from facezoo.heads.file import read_head, read_meta, write_arrays, write_head
from facezoo.heads.registry import head_path, installed_heads, load_head


@pytest.mark.parametrize("name", ["head.safetensors", "head.safetensors.gz"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    arrays, meta = random_head()
    arrays["shapedirs"] = arrays["shapedirs"].astype(np.float16)
    path = write_head(tmp_path / name, arrays, meta)
    again, meta_again = read_head(path)
    assert meta_again == meta == read_meta(path) and again.keys() == arrays.keys()
    for key, value in arrays.items():
        assert again[key].dtype == value.dtype and np.array_equal(again[key], value), key
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_same_content_same_bytes(tmp_path: Path) -> None:
    arrays, meta = random_head()
    backwards = dict(reversed(arrays.items()))
    a = write_head(tmp_path / "a.safetensors.gz", arrays, meta).read_bytes()
    b = write_head(tmp_path / "b.safetensors.gz", backwards, dict(reversed(meta.items()))).read_bytes()
    assert a == b


def test_doubles_and_longs_are_stored_small(tmp_path: Path) -> None:
    arrays, meta = random_head()
    wide = {k: v.astype(np.float64 if v.dtype.kind == "f" else np.int64) for k, v in arrays.items()}
    again, _ = read_head(write_head(tmp_path / "head.safetensors", wide, meta))
    assert {v.dtype for v in again.values()} == {np.dtype(np.float32), np.dtype(np.int32)}


DAMAGE = {
    "v_template must have shape": lambda a, m: a.update(v_template=a["v_template"][:, :2]),
    "lacks posedirs": lambda a, m: a.pop("posedirs"),
    "posedirs must have shape": lambda a, m: a.update(posedirs=a["posedirs"][:9]),
    "faces must hold ids in": lambda a, m: a["faces"].__setitem__((0, 0), 30),
    "faces must hold integers": lambda a, m: a.update(faces=a["faces"].astype(np.float32)),
    "rows of weights": lambda a, m: a.update(weights=2 * a["weights"]),
    "NaN": lambda a, m: a["shapedirs"].__setitem__((0, 0, 0), np.nan),
    "J_regressor.row must hold": lambda a, m: a["J_regressor.row"].__setitem__(0, 5),
    "uv and uv_faces": lambda a, m: a.pop("uv_faces"),
    "symmetry must pair": lambda a, m: a["symmetry"].__setitem__(0, 3),
    "subset.7 repeats": lambda a, m: a["subset.7"].__setitem__(0, a["subset.7"][1]),
    "subset.7 must have shape": lambda a, m: a.update({"subset.7": a["subset.7"][:6]}),
    "mask.face must hold ids": lambda a, m: a["mask.face"].__setitem__(0, 99),
    "landmarks.ibug6.bary must sum": lambda a, m: a["landmarks.ibug6.bary"].__setitem__(0, 0),
    "lacks landmarks.ibug6.bary": lambda a, m: a.pop("landmarks.ibug6.bary"),
    "landmarks.ibug6.bary has no faces": lambda a, m: a.pop("landmarks.ibug6.faces"),
    "contour.bary must have shape": lambda a, m: a.update({"contour.bary": a["contour.bary"][:3]}),
    "no head file has: junk": lambda a, m: a.update(junk=np.zeros(1)),
    "metadata lacks licence": lambda a, m: m.pop("licence"),
    "n_identity": lambda a, m: m.update(n_identity=8),
    "identity_names": lambda a, m: m.update(identity_names=["a"] * 4),
    "expression_sigma": lambda a, m: m.update(expression_sigma=[1, 0, 1]),
    "joint_sigma": lambda a, m: m.update(joint_sigma={"chin": [1, 1, 1]}),
    "expression_bounds": lambda a, m: m.update(expression_bounds=[[0, 1]]),
    "FLAME has 5023": lambda a, m: m.update(kind="flame"),
}


@pytest.mark.parametrize("match", DAMAGE)
def test_wrong_heads_are_refused_on_writing_and_reading(tmp_path: Path, match: str) -> None:
    arrays, meta = random_head()
    DAMAGE[match](arrays, meta)
    path = tmp_path / "bad.safetensors"
    with pytest.raises(AssetError, match=match) as caught:
        write_head(path, arrays, meta)
    assert str(path) in str(caught.value) and not path.exists()
    write_arrays(path, arrays, meta)
    with pytest.raises(AssetError, match=match) as caught:
        read_head(path)
    assert str(path) in str(caught.value)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    good = write_head(tmp_path / "good.safetensors.gz", *random_head()).read_bytes()
    bad = {
        "cut.safetensors.gz": good[: len(good) // 2],
        "flipped.safetensors.gz": good[:200] + bytes([good[200] ^ 255]) + good[201:],
        "cut.safetensors": gzip.decompress(good)[:-10],
        "text.safetensors": b"<html>login required</html>",
        "empty.safetensors": b"",
        "header.safetensors": (1 << 62).to_bytes(8, "little") + b"{}",
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        for read in (read_head, load_head):
            with pytest.raises(AssetError, match=name):
                read(tmp_path / name)
    with pytest.raises(AssetError, match="nowhere"):
        read_head(tmp_path / "nowhere.safetensors")


def test_other_safetensors_are_no_heads(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(AssetError, match="not written by facezoo"):
        read_head(tmp_path / "x.safetensors")


def test_names_are_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEZOO_CACHE", str(tmp_path))
    arrays, meta = random_head()
    write_head(head_path("mine"), arrays, meta)
    assert "mine" in installed_heads()
    a, b = load_head("mine"), load_head("mine")
    assert a is not b and a.v_template.data_ptr() == b.v_template.data_ptr()
    a.double()
    assert b.v_template.dtype == torch.float32
    assert load_head(head_path("mine")).head_id == "test-head"
    with pytest.raises(UnknownNameError, match="Did you mean 'mine'"):
        load_head("mime")
    with pytest.raises(AssetError, match="facezoo assets add flame PATH"):
        load_head("flame2020")
    with pytest.raises(AssetError, match="no head file"):
        load_head("./mine.safetensors")


def test_a_head_written_again_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEZOO_CACHE", str(tmp_path))
    for seed in (1, 2):
        arrays, meta = random_head(seed=seed)
        write_head(head_path("mine"), arrays, meta)
        assert np.array_equal(load_head("mine").v_template.numpy(), arrays["v_template"])


@pytest.mark.parametrize("name", ["../up", "UPPER", "", "a/b", ".hidden"])
def test_names_cannot_leave_the_cache(name: str) -> None:
    with pytest.raises(InputError, match="no head name"):
        head_path(name)
