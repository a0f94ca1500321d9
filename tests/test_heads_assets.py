"""`facezoo assets add flame`: every way a FLAME download lies on a disk, and what must not be accepted as one."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads_synthetic import flame_pack
from test_heads_pickle_safe import Call, npy

from facezoo.errors import AssetError, InputError, UnknownNameError
from facezoo.heads.assets import add_flame, list_assets
from facezoo.heads.file import read_head
from facezoo.heads.flame import embedding_arrays, model_arrays
from facezoo.heads.params import HeadParams
from facezoo.heads.registry import load_head
from facezoo.heads.texture import load_texture


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with the parity pack's 120-vertex model."""
    folder = tmp_path / "small"
    folder.mkdir()
    shutil.copy(flame_pack() / "synthetic_flame.pkl", folder)
    return folder


def full_model(**changes: Any) -> bytes:
    """A pickle with FLAME's 5023 vertices and 9976 faces, and two components."""
    v = 5023
    weights = np.zeros((v, 5))
    weights[:, 1] = 1
    regressor = np.zeros((5, v))
    regressor[:, :4] = 0.25
    model = {
        "v_template": np.random.default_rng(0).normal(size=(v, 3)),
        "f": np.arange(3 * 9976, dtype=np.uint32).reshape(-1, 3) % v,
        "shapedirs": np.zeros((v, 3, 2)),
        "posedirs": np.zeros((v, 3, 36)),
        "J_regressor": regressor,
        "J": np.zeros((5, 3)),
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)]),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    return pickle.dumps({**model, **changes}, 2)


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_pack_becomes_a_head(small: Path) -> None:
    path = add_flame(small / "synthetic_flame.pkl", name="tiny")
    head = load_head("tiny")
    assert path == load_path(head.head_id) and (head.n_identity, head.n_expression) == (300, 100)
    assert head.params["identity"].names[7] == "shape007" and head.params["expression"].names[99] == "expr099"
    assert torch.equal(head.params["identity"].sigma, torch.ones(300))
    with np.load(flame_pack() / "synthetic_flame.npz") as reference:
        np.testing.assert_allclose(head.v_template, reference["v_template"], atol=1e-7)
        np.testing.assert_allclose(head.J_regressor, reference["J_regressor"], atol=1e-7)
    digest = hashlib.sha256((small / "synthetic_flame.pkl").read_bytes()).hexdigest()
    assert head.meta["sources"][0]["sha256"] == digest
    assert "non-commercial" in head.licence and head.licence in head.meta["licence_text"]


def load_path(name: str) -> Path:
    return next(asset.path for asset in list_assets() if asset.name == name)


def test_embeddings_masks_and_licence_beside_the_model(small: Path) -> None:
    with np.load(flame_pack() / "landmark_embedding.npz") as file:
        embedding: dict[str, Any] = dict(file)
    embedding["dynamic_lmk_faces_idx"] = torch.from_numpy(embedding["dynamic_lmk_faces_idx"])
    embedding["dynamic_lmk_bary_coords"] = torch.from_numpy(embedding["dynamic_lmk_bary_coords"])
    put(small / "landmark_embedding.npy", npy(embedding))
    put(small / "FLAME_masks.pkl", pickle.dumps({"lips": np.array([5, 5, 3]), "neck": np.arange(9)}, 2))
    put(small / "readme.txt", b"The FLAME model is for research.")
    put(small / "license.md", b"MIT, of something else")
    mediapipe = {
        "lmk_face_idx": np.zeros(105, np.uint32),
        "lmk_b_coords": np.full((105, 3), 1 / 3),
        "landmark_indices": np.arange(105),
    }
    np.savez(small / "mediapipe_landmark_embedding.npz", **mediapipe)
    add_flame(small / "synthetic_flame.pkl", name="tiny")
    head = load_head("tiny")
    assert set(head.topology.landmarks) == {"ibug51", "ibug68", "mediapipe105"}
    assert head.topology.contour is not None and head.topology.contour.bary.shape == (79, 17, 3)
    assert head.topology.mask("lips").tolist() == [3, 5] and len(head.extra["mediapipe105_ids"]) == 105
    assert "for research" in head.meta["licence_text"] and "MIT" not in head.meta["licence_text"]
    vertices = head(HeadParams()).vertices
    assert head.landmarks(vertices, "ibug68").shape == (1, 68, 3)
    assert head.contour_landmarks(vertices, torch.eye(3)[None], "smplx").shape == (1, 68, 3)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("FLAME2020/generic_model.pkl", "flame2020"),
        ("flame2019/female_model.pkl", "flame2019-female"),
        ("FLAME2023/flame2023.pkl", "flame2023"),
        ("x/flame2023_no_jaw.pkl", "flame2023-nojaw"),
        ("x/flame2023_Open.pkl", "flame2023-open"),
        ("FLAME2020/FLAME_NEUTRAL.pkl", "flame2020"),
    ],
)
@pytest.mark.parametrize("given", ["file", "folder", "zip"])
def test_names_are_read_off_the_download(tmp_path: Path, file: str, name: str, given: str) -> None:
    path = put(tmp_path / "in" / file, full_model())
    if given == "zip":
        path = tmp_path / f"{file.partition('/')[0]}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(tmp_path / "in" / file, file.partition("/")[2])
    added = add_flame(path.parent if given == "folder" else path)
    assert added.name == f"{name}.safetensors"
    head = load_head(name)
    assert head.meta["kind"] == "flame" and head.n_vertices == 5023
    assert ("CC-BY" in head.licence) == name.endswith("open")
    assert len(head.topology.mask("left_eyeball")) == len(head.topology.mask("right_eyeball")) == 546


def test_unclear_downloads_ask(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--name flame2020"):
        add_flame(put(tmp_path / "data" / "generic_model.pkl", full_model()))
    put(tmp_path / "two" / "FLAME2019" / "generic_model.pkl", full_model())
    put(tmp_path / "two" / "FLAME2020" / "generic_model.pkl", full_model())
    with pytest.raises(InputError, match=r"2019.*2020.*give the pickle"):
        add_flame(tmp_path / "two")
    with pytest.raises(InputError, match="holds no FLAME model"):
        add_flame(put(tmp_path / "other" / "notes.txt", b"").parent)
    with pytest.raises(InputError, match="does not exist"):
        add_flame(tmp_path / "nothing.pkl")
    with pytest.raises(InputError, match="packaged"):
        add_flame(tmp_path / "two" / "FLAME2019" / "generic_model.pkl", name="open-v1")
    with pytest.raises(InputError, match="no head name"):
        add_flame(tmp_path / "two" / "FLAME2019" / "generic_model.pkl", name="../../up")


def test_variants_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "FLAME2020"
    for i, file in enumerate(("generic_model.pkl", "female_model.pkl", "male_model.pkl")):
        put(folder / file, full_model(v_template=np.full((5023, 3), float(i))))
    for name, value in (("flame2020", 0), ("flame2020-female", 1), ("flame2020-male", 2)):
        add_flame(folder, name=name)
        assert load_head(name).v_template[0, 0] == value
    assert add_flame(folder).name == "flame2020.safetensors"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"v_template": np.zeros((4, 3))}, "shapedirs"),
        ({"shapedirs": np.zeros((5023, 6))}, "shapedirs"),
        ({"posedirs": np.zeros((5023, 3, 35))}, "posedirs"),
        ({"weights": np.zeros((5023, 5))}, "sum to 1"),
        ({"weights": "x"}, "weights"),
        ({"kintree_table": np.zeros((2, 5), int)}, "parents"),
        ({"bs_type": "lrot"}, "lrotmin"),
        ({"f": np.zeros((7, 3), np.uint32)}, "9976"),
        ({"f": np.full((9976, 3), 5023, np.uint32)}, "faces"),
    ],
)
def test_wrong_models_are_named(tmp_path: Path, cache: Path, changes: dict[str, Any], match: str) -> None:
    path = put(tmp_path / "FLAME2020" / "generic_model.pkl", full_model(**changes))
    with pytest.raises(AssetError, match=match):
        add_flame(path)
    assert not list(cache.glob("**/*.safetensors"))


def test_a_small_model_cannot_pass_as_flame(small: Path) -> None:
    with pytest.raises(AssetError, match="5023"):
        add_flame(small / "synthetic_flame.pkl", name="flame2020")


def test_old_key_names(small: Path) -> None:
    from facezoo.heads.pickle_safe import read_pickle

    model = read_pickle(small / "synthetic_flame.pkl")
    want, _ = model_arrays(model, "m")
    old = {"v_template": "template_v", "J_regressor": "joint_regressor", "posedirs": "blendshapes"}
    got, _ = model_arrays({old.get(key, key): value for key, value in model.items()}, "m")
    assert got.keys() == want.keys() and all(np.array_equal(got[key], want[key]) for key in want)
    with pytest.raises(AssetError, match="lacks 'weights'"):
        model_arrays({key: value for key, value in model.items() if key != "weights"}, "m")


def test_malice_is_refused_and_does_not_run(tmp_path: Path, cache: Path) -> None:
    marker = tmp_path / "ran"
    evil = Call(os.mkdir, str(marker))
    folder = tmp_path / "FLAME2020"
    model = put(folder / "generic_model.pkl", full_model(bs_style=evil))
    with pytest.raises(AssetError, match=r"generic_model\.pkl.*mkdir"):
        add_flame(folder)
    model.write_bytes(full_model())
    for file, data in (
        ("FLAME_masks.pkl", pickle.dumps({"face": evil})),
        ("landmark_embedding.npy", npy({"static_lmk_faces_idx": evil})),
        ("flame_static_embedding.pkl", pickle.dumps(evil)),
    ):
        put(folder / file, data)
        with pytest.raises(AssetError, match=rf"{file}.*mkdir"):
            add_flame(folder)
        (folder / file).unlink()
    for file in ("FLAME_texture.npz", "mediapipe_landmark_embedding.npz"):
        np.savez(folder / file, mean=np.array([evil], object), lmk_face_idx=np.array([evil], object))
        with pytest.raises(AssetError, match=file):
            add_flame(folder)
        (folder / file).unlink()
    assert not marker.exists() and not list(cache.glob("**/*.safetensors"))
    add_flame(folder)


def test_embeddings_of_all_makers() -> None:
    static = {"lmk_face_idx": np.arange(51, dtype=np.uint32), "lmk_b_coords": np.full((51, 3), 1 / 3)}
    assert set(embedding_arrays(static, "e")) == {"landmarks.ibug51.faces", "landmarks.ibug51.bary"}
    rows = {"lmk_face_idx": [np.arange(17)] * 79, "lmk_b_coords": [np.full((17, 3), 1 / 3)] * 79}
    assert embedding_arrays(rows, "e")["contour.faces"].shape == (79, 17)
    for bad in ({"a": 1}, [1], {"lmk_face_idx": np.arange(50), "lmk_b_coords": np.zeros((50, 3))}):
        with pytest.raises(AssetError, match=r"^e"):
            embedding_arrays(bad, "e")
    for key, value in (("lmk_b_coords", np.zeros((51, 2))), ("lmk_face_idx", "text"), ("lmk_b_coords", None)):
        with pytest.raises(AssetError, match=r"^e"):
            embedding_arrays({**static, key: value}, "e")


def textures(side: int = 4) -> dict[str, dict[str, np.ndarray]]:
    g = np.random.default_rng(0)
    uv = {"vt": g.random((8, 2)), "ft": np.zeros((216, 3), np.int64)}
    square = (side, side, 3)
    return {
        "FLAME_texture.npz": {
            "mean": 255 * g.random(square),
            "tex_dir": g.normal(size=(*square, 6)),
            **uv,
        },
        "albedoModel2020_FLAME_albedoPart.npz": {
            "MU": g.random(square),
            "PC": 0.1 * g.normal(size=(*square, 5)),
            "specMU": g.random(square),
            "specPC": 0.1 * g.normal(size=(*square, 5)),
            **uv,
        },
        "FLAME_albedo_from_BFM.npz": {
            "MU": g.random(3 * side * side),
            "PC": g.normal(size=(3 * side * side, 7)),
        },
    }


def test_texture_spaces(small: Path) -> None:
    data = textures()
    for file, arrays in data.items():
        np.savez(small / file, **arrays)
    add_flame(small / "synthetic_flame.pkl", name="tiny")
    assert load_head("tiny").topology.uv.shape == (8, 2)
    listed = {asset.name for asset in list_assets() if asset.kind == "texture"}
    assert listed == {"flame", "albedo-mm", "bfm"}
    c = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    n = c.double().numpy()

    flame = data["FLAME_texture.npz"]
    want = (flame["mean"] + np.einsum("hwcn,bn->bhwc", flame["tex_dir"][..., :3], n))[..., ::-1] / 255
    check(load_texture("flame")(c), want)
    bfm = data["FLAME_albedo_from_BFM.npz"]
    want = (bfm["MU"] + n @ bfm["PC"][:, :3].T).reshape(2, 4, 4, 3)[..., ::-1]
    check(load_texture("bfm", components=3)(c), want)
    mm = data["albedoModel2020_FLAME_albedoPart.npz"]
    both = mm["MU"] + mm["specMU"] + np.einsum("hwcn,bn->bhwc", (mm["PC"] + mm["specPC"])[..., :3], n)
    check(load_texture("albedo-mm")(c), (0.6 * both.clip(1e-9)) ** (1 / 2.2), atol=2e-4)

    space = load_texture("bfm", components=2)
    assert space.n_components == 2 and not space.state_dict()
    with pytest.raises(InputError, match="k <= 2"):
        space(c)
    with pytest.raises(UnknownNameError, match="Did you mean 'bfm'"):
        load_texture("bfm2017")


def check(got: torch.Tensor, want: np.ndarray, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(got.permute(0, 2, 3, 1).numpy(), want, atol=atol)


def test_odd_textures_are_named(small: Path) -> None:
    with pytest.raises(AssetError, match="facezoo assets add flame"):
        load_texture("flame")
    np.savez(small / "FLAME_texture.npz", mean=np.zeros((4, 5, 3)), tex_dir=np.zeros((4, 5, 3, 2)))
    with pytest.raises(AssetError, match="no square RGB texture"):
        add_flame(small / "synthetic_flame.pkl", name="tiny")
    np.savez(small / "FLAME_texture.npz", pixels=np.zeros(3))
    with pytest.raises(AssetError, match="no FLAME texture space"):
        add_flame(small / "synthetic_flame.pkl", name="tiny")


def test_template_mesh_gives_the_uv_map(small: Path) -> None:
    with np.load(flame_pack() / "synthetic_flame.npz") as reference:
        faces = reference["f"].astype(int)
    lines = ["v 0 1.5 0"] * 120 + ["vt 0.25 0.5"] * 120
    corners = [" ".join(f"{i + 1}/{i + 1}" for i in face) for face in faces]
    put(small / "head_template.obj", "\n".join([*lines, *(f"f {c}" for c in corners)]).encode())
    add_flame(small / "synthetic_flame.pkl", name="tiny")
    topology = load_head("tiny").topology
    assert torch.equal(topology.uv_faces, topology.faces) and topology.uv[0].tolist() == [0.25, 0.5]
    put(small / "head_template.obj", "\n".join([*lines, f"f {corners[0]}"]).encode())
    with pytest.raises(AssetError, match="not the textured template"):
        add_flame(small / "synthetic_flame.pkl", name="tiny")


def test_adding_twice_gives_the_same_bytes(small: Path) -> None:
    first = add_flame(small / "synthetic_flame.pkl", name="tiny").read_bytes()
    second = add_flame(small / "synthetic_flame.pkl", name="tiny")
    assert second.read_bytes() == first
    assert read_head(second)[1]["head_id"] == "tiny"


def test_damaged_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "FLAME2020.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("generic_model.pkl", full_model())
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(AssetError, match=r"FLAME2020\.zip"):
        add_flame(path)
