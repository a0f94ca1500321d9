"""What a training run exported, read without building the model and checked as strictly as a stranger would."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facezoo.catalog import Catalog, ModelSpec
from facezoo.errors import AssetError, InputError
from facezoo.hub.cache import appear
from facezoo.hub.names import FILES
from facezoo.hub.verify import sha256_of

CONFIG, WEIGHTS = FILES
CARD = "README.md"
# Opening one of these can run code, or is code; none is ever published.
UNSAFE = {
    ".bin", ".ckpt", ".dill", ".dll", ".exe", ".h5", ".joblib", ".keras", ".msgpack", ".npy", ".npz", ".pickle", ".pkl",
    ".pt", ".pt2", ".pth", ".py", ".pyc", ".sh", ".so",
}  # fmt: skip
_HEADER_LIMIT = 100_000_000
# Bytes of a value; all other kinds have one.
_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


@dataclass(frozen=True)
class Export:
    """A checked export.

    Attributes:
        run: the folder that was given: a run, or the export itself.
        folder: where config.json and model.safetensors are.
        config: the whole config.json.
        model: the catalogue's model of this method.
        sha256: digest of the weights.
        tensors: name -> shape.
    """

    run: Path
    folder: Path
    config: Mapping[str, Any]
    model: ModelSpec
    sha256: str
    tensors: Mapping[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        """Number of stored values."""
        return sum(math.prod(shape) for shape in self.tensors.values())


def read_export(run: str | Path, table: Catalog) -> Export:
    """Find and check an export.

    Args:
        run: a training run's folder (its ``export`` is taken), or a folder that ``save_pretrained`` wrote.
        table: the catalogue that knows the methods.

    Raises:
        AssetError: there is none, or it is damaged, carries code, or carries a head.
        UnknownNameError: its method is unknown.
    """
    run = Path(run).expanduser()
    folder = run / "export" if (run / "export").is_dir() else run
    for name in FILES:
        if not (folder / name).is_file():
            raise AssetError(
                f"{run} has nothing to publish: {folder / name} is missing. A run exports when it ends; "
                "`python -m facezoo.train recipe=RUN/recipe.yaml` resumes one that did not."
            )
    unsafe = sorted(file.name for file in folder.rglob("*") if file.suffix.lower() in UNSAFE)
    if unsafe:
        raise AssetError(
            f"{folder} holds {', '.join(unsafe)}: opening such files can run code, and none is "
            "published; move them out."
        )
    config = read_config(folder)
    model = table.of_method(config.get("method"), str(folder / CONFIG))
    digest = sha256_of(folder / WEIGHTS)
    weights = config.get("weights") or {}
    if weights.get("file", WEIGHTS) != WEIGHTS or weights.get("sha256") != digest:
        raise AssetError(
            f"{folder / CONFIG} does not describe {WEIGHTS}: it says {weights.get('file')!r} with sha256 "
            f"{weights.get('sha256')}, the file has {digest}; export again with model.save_pretrained(folder)."
        )
    tensors = read_header(folder / WEIGHTS)
    heads = sorted(name for name in tensors if name.startswith("head."))
    if heads:
        raise AssetError(
            f"{folder / WEIGHTS} carries a head ({heads[0]}): heads have licences of their own and are never published "
            "with weights; keep them in non-persistent buffers."
        )
    return Export(run, folder, config, model, digest, tensors)


def read_config(folder: Path) -> dict[str, Any]:
    """Read a config.json and check that it has a ``config`` section.

    Raises:
        AssetError: it is not what save_pretrained writes.
    """
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AssetError(f"{path} cannot be read: {error}.") from error
    if not isinstance(values, dict) or not isinstance(values.get("config"), dict):
        raise AssetError(f"{path} has no 'config' section; expected what model.save_pretrained writes.")
    return values


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes in a safetensors file and check that header and data fit together.

    Raises:
        AssetError: it is no safetensors file, or is cut off.
    """
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, _HEADER_LIMIT):
                raise ValueError(f"its header would have {length} bytes")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end, shapes = 0, {}
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            shape, (first, last) = tuple(int(n) for n in entry["shape"]), entry["data_offsets"]
            if first != end or last - first != math.prod(shape) * _BYTES.get(entry["dtype"], 1):
                raise ValueError(f"tensor {name!r} does not lie where the header says")
            end, shapes[name] = last, shape
        if end != size - 8 - length:
            raise ValueError(f"{size - 8 - length} bytes of data, the header describes {end}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetError(f"{path} is not a whole safetensors file: {error}; export it again.") from error
    return shapes


def state(export: Export, licences: Mapping[str, str] | None, base_model: str | None) -> Export:
    """Write licences or lineage that a person states into the export's config.json.

    Args:
        export: the export.
        licences: part -> SPDX id, for some or all of code, weights, head and data.
        base_model: what the training started from; ``"none"`` for random weights.

    Raises:
        InputError: a part is unknown.
    """
    if not licences and base_model is None:
        return export
    config = dict(export.config)
    if licences:
        unknown = set(licences) - {"code", "weights", "head", "data"}
        if unknown:
            raise InputError(
                f"a licence is of code, weights, head or data, not {', '.join(sorted(unknown))}; "
                "e.g. --licence weights=CC0-1.0"
            )
        config["licences"] = {**(config.get("licences") or {}), **licences}
    if base_model is not None:
        lineage = config.get("lineage")
        stated = {"base_model": None if base_model == "none" else base_model}
        config["lineage"] = {**lineage, **stated} if isinstance(lineage, dict) else stated
    text = json.dumps(config, indent=2) + "\n"
    appear(export.folder / CONFIG, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return Export(export.run, export.folder, config, export.model, export.sha256, export.tensors)
