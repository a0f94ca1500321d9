"""Add licensed heads to the user's cache: read once without executing anything, stored as safetensors."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import AssetError, InputError
from facezoo.heads.check import FLAME_VERTICES, check_head
from facezoo.heads.file import read_meta, write_head
from facezoo.heads.flame import Arrays, embedding_arrays, mask_arrays, model_arrays, uv_arrays
from facezoo.heads.pickle_safe import read_object_npy, read_pickle
from facezoo.heads.registry import PACKAGED_HEADS, cache_folder, head_path, installed_heads
from facezoo.heads.source import Entry, beside, list_entries
from facezoo.heads.texture import convert_texture
from facezoo.mesh.io.obj import read_obj

_LICENCE = "FLAME model licence: non-commercial research; https://flame.is.tue.mpg.de/modellicense.html"
_LICENCE_OPEN = "FLAME 2023 Open: CC-BY-4.0 according to its users; the terms of your download decide"
# File name -> (variant, year). Without a year it is read off the folder or zip the file lies in.
_MODELS = {
    "generic_model.pkl": ("", None),
    "male_model.pkl": ("-male", None),
    "female_model.pkl": ("-female", None),
    "flame_neutral.pkl": ("", None),
    "flame_male.pkl": ("-male", None),
    "flame_female.pkl": ("-female", None),
    "flame2023.pkl": ("", "2023"),
    "flame2023_no_jaw.pkl": ("-nojaw", "2023"),
    "flame2023_open.pkl": ("-open", "2023"),
}
_VARIANTS = ("-male", "-female", "-nojaw", "-open")
_YEAR = re.compile(r"flame[ _-]?(2017|2019|2020|2023)", re.IGNORECASE)
_FLAME_NAME = re.compile(r"flame20\d\d(-.*)?")
# Where two files give the same landmarks, the later one stands: DECA's table is the one its users expect.
_EMBEDDINGS = (
    "flame_static_embedding.pkl",
    "flame_static_embedding_68.pkl",
    "flame_dynamic_embedding.npy",
    "mediapipe_landmark_embedding.npz",
    "landmark_embedding.npy",
)
_TEXTURES = ("flame_texture.npz", "albedomodel2020_flame_albedopart.npz", "flame_albedo_from_bfm.npz")
_TEMPLATES = ("head_template_mesh.obj", "head_template.obj")
_LICENCE_FILE = re.compile(r"(licen[cs]e|readme|terms)[^.]*(\.(txt|md|rst))?")
_MAX_TEXT = 1 << 16


@dataclass(frozen=True)
class Asset:
    """One thing that can be loaded by name.

    ``kind`` is "head" or "texture", ``sources`` say what it was made of.
    """

    kind: str
    name: str
    path: Path
    licence: str
    sources: tuple[str, ...]


def add_flame(
    path: str | os.PathLike[str], name: str | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> Path:
    """Convert a FLAME download once, so that ``head=name`` works wherever a head is asked for.

    Beside the model these files are used when they lie with it: landmark embeddings, FLAME_masks.pkl,
    texture spaces (kept apart, see :mod:`facezoo.heads.texture`), the template mesh (for its UV map),
    licence texts.

    The files do not say which FLAME they are. Without ``name`` it is read off the file's name (flame2023.pkl,
    flame2023_no_jaw.pkl, flame2023_Open.pkl), for generic_model.pkl off the folder or zip it lies in
    (FLAME2020).

    Args:
        path: a model pickle, a folder, or a zip as downloaded.
        name: what to call the head: "flame2020", "flame2023-open", "flame2019-female", ...
        cache_dir: other cache than $FACEZOO_CACHE or ~/.cache/facezoo.

    Returns:
        The head file.

    Raises:
        InputError: there is no model at ``path``, or it is unclear which.
        AssetError: a file is damaged, is not what it claims to be, or names anything that could run code.
    """
    entries, given = list_entries(path)
    model = given or _choose(entries, name, path)
    name = name or _guess_name(model)
    if name in PACKAGED_HEADS:
        raise InputError(f"{name!r} is the name of a packaged head; choose another with --name.")
    target = head_path(name, cache_dir)
    others = beside(entries, model)
    used: list[dict[str, str]] = []

    def read(entry: Entry, role: str) -> bytes:
        data = entry.read()
        used.append({"file": entry.shown, "sha256": hashlib.sha256(data).hexdigest(), "role": role})
        return data

    arrays, n_identity = model_arrays(read_pickle(model.shown, read(model, "model")), model.shown)
    n_expression = arrays["shapedirs"].shape[2] - n_identity
    present = {
        key: others[key]
        for key in (*_EMBEDDINGS, *_TEMPLATES, *_TEXTURES, "flame_masks.pkl")
        if key in others
    }
    for key, entry in present.items():
        if key in _EMBEDDINGS:
            arrays |= embedding_arrays(_read_data(entry, read(entry, "landmarks")), entry.shown)
        elif key == "flame_masks.pkl":
            arrays |= mask_arrays(read_pickle(entry.shown, read(entry, "masks")), entry.shown)
        elif key in _TEMPLATES:
            arrays |= _template_uv(entry, read(entry, "uv"), arrays["faces"])
    is_open = name.endswith("-open") or model.name == "flame2023_open.pkl"
    licence = _licence(_LICENCE_OPEN if is_open else _LICENCE, others)
    meta: dict[str, Any] = {
        **licence,
        "head_id": name,
        "n_identity": n_identity,
        "identity_names": [f"shape{i:03d}" for i in range(n_identity)],
        "expression_names": [f"expr{i:03d}" for i in range(n_expression)],
        "sources": used,
    }
    if _FLAME_NAME.fullmatch(name) or len(arrays["v_template"]) == FLAME_VERTICES:
        meta["kind"] = "flame"
    check_head(arrays, meta, model.shown)  # before the first texture is written
    for key in _TEXTURES:
        if key in present:
            entry = present[key]
            texture = _read_npz(entry, read(entry, "texture"))
            if {"vt", "ft"} <= texture.keys():
                arrays |= uv_arrays(texture["vt"], texture["ft"], entry.shown)
            convert_texture(texture, {"sources": used[-1:]}, entry.shown, cache_dir)
    return write_head(target, arrays, meta)


def list_assets(cache_dir: str | os.PathLike[str] | None = None) -> list[Asset]:
    """List the heads and texture spaces that can be loaded, packaged ones first."""
    textures = sorted((cache_folder(cache_dir) / "textures").glob("*.safetensors"))
    found = [("head", name, path) for name, path in installed_heads(cache_dir).items()]
    found += [("texture", path.stem, path) for path in textures]
    assets = []
    for kind, name, path in found:
        meta = read_meta(path)
        # A converted head lists its files with their hashes, a generated one says in a sentence where it is from.
        sources = meta.get("sources", [])
        files = (sources,) if isinstance(sources, str) else tuple(str(entry["file"]) for entry in sources)
        assets.append(Asset(kind, name, path, str(meta.get("licence", "unknown")), files))
    return sorted(assets, key=lambda asset: asset.name not in PACKAGED_HEADS)


def _choose(entries: list[Entry], name: str | None, path: str | os.PathLike[str]) -> Entry:
    found = [entry for entry in entries if entry.name in _MODELS]
    if not found:
        raise InputError(
            f"{os.fspath(path)} holds no FLAME model; expected one of {', '.join(_MODELS)}. If yours has "
            "another name, "
            "give the pickle itself."
        )
    wanted = next((v for v in _VARIANTS if name and name.endswith(v)), "")
    fitting = [entry for entry in found if _MODELS[entry.name][0] == wanted] or ([] if name else found)
    if len(fitting) != 1:
        listing = ", ".join(entry.shown for entry in found)
        raise InputError(
            f"{os.fspath(path)} holds {listing}; give the pickle you mean instead of the folder."
        )
    return fitting[0]


def _guess_name(model: Entry) -> str:
    if model.name in _MODELS:
        variant, year = _MODELS[model.name]
        years = [year] if year else _YEAR.findall(model.shown)
        if years:
            return f"flame{years[-1]}{variant}"
    raise InputError(
        f"cannot tell which FLAME {model.shown} is: say so with --name, for example --name flame2020 "
        "(DECA, EMOCA, MICA and SMIRK use 2020; coefficients of one version mean nothing in another)."
    )


def _read_data(entry: Entry, data: bytes) -> Any:
    match Path(entry.name).suffix:
        case ".npz":
            return _read_npz(entry, data)
        case ".npy":
            return read_object_npy(entry.shown, data)
    return read_pickle(entry.shown, data)


def _read_npz(entry: Entry, data: bytes) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # zip, zlib and numpy's header parser each have their own kinds
        raise AssetError(f"{entry.shown} is no .npz of plain arrays ({error}).") from error


def _template_uv(entry: Entry, data: bytes, faces: NDArray[Any]) -> Arrays:
    """Read the UV map off the template mesh; its vertices are in another frame and are not used."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its material file is not wanted
        path = Path(folder) / entry.name
        path.write_bytes(data)
        mesh = read_obj(path)
    if mesh.uv is None or mesh.uv_faces is None or not np.array_equal(mesh.faces, faces):
        raise AssetError(
            f"{entry.shown} is not the textured template of this model: move it away and try again."
        )
    return uv_arrays(mesh.uv, mesh.uv_faces, entry.shown)


def _licence(short: str, others: dict[str, Entry]) -> dict[str, str]:
    """Return the short licence and its text, with what the download itself says about it."""
    texts = [short]
    for name, entry in others.items():
        if _LICENCE_FILE.fullmatch(name):
            text = entry.read()[:_MAX_TEXT].decode("utf-8", "replace")
            if "flame" in text.lower():  # a folder of downloads holds other people's readmes too
                texts.append(f"--- {entry.shown}\n{text}")
    return {"licence": short, "licence_text": "\n\n".join(texts)}
