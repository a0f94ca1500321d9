"""Turn a name or a path into a checkpoint folder on this machine. Never touches the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from facezoo import catalog
from facezoo.errors import AssetError, unknown_name
from facezoo.hub.verify import verify_files

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A folder with ``config.json`` and ``model.safetensors``.

    Attributes:
        id: the catalogue's full id, or the folder as given.
        folder: where the two files lie.
        model: the catalogue's model that can read them.
        sha256: pinned digests; empty for a user's own folder.
    """

    id: str
    folder: Path
    model: catalog.ModelSpec
    sha256: Mapping[str, str] = field(default_factory=dict)

    def verify(self) -> None:
        """Check every pinned file.

        Raises:
            AssetError: naming the file that is missing or damaged.
        """
        verify_files(self.folder, self.sha256, self.id)


def resolve(name_or_path: str | Path) -> Checkpoint:
    """Find a checkpoint by catalogue id or by folder.

    Something that exists as a folder, holds a path separator or is a ``Path`` is a path; everything else is a name. A
    name never silently turns into other weights.

    Raises:
        UnknownNameError: no such name; the message has the nearest.
        AssetError: the folder is missing or not a checkpoint.
    """
    text = str(name_or_path)
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, Path) or "/" in text or "\\" in text or path.is_dir():
        return _from_folder(path)
    entry = catalog.info(text)
    if not entry.folder.is_dir():
        raise AssetError(
            f"the weights of {entry.id} are not in this installation ({entry.folder} is missing). Reinstall facezoo, "
            "or train them: `python -m facezoo.train recipe=dense`."
        )
    return Checkpoint(entry.id, entry.folder, entry.model, entry.weights.sha256)


def _from_folder(folder: Path) -> Checkpoint:
    if not folder.is_dir():
        raise AssetError(
            f"there is no checkpoint folder {folder}; `facezoo list` shows the names that need no folder."
        )
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise AssetError(
                f"{folder} is not a checkpoint: {name} is missing. model.save_pretrained(folder) writes one."
            )
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        method = config["method"]
    except (ValueError, KeyError, TypeError) as error:
        raise AssetError(
            f"{folder / CONFIG_NAME} is not the config of a facezoo checkpoint ({error!r})."
        ) from error
    for model in catalog.CATALOG.values():
        if model.method == method:
            return Checkpoint(str(folder), folder, model)
    raise unknown_name(
        "method", str(method), {m.method for m in catalog.CATALOG.values()}, f"({folder / CONFIG_NAME})"
    )
