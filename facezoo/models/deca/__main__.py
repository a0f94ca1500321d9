"""Commands of DECA.

python -m facezoo.models.deca convert checkpoint=deca_model.tar out=FOLDER [head=flame2020]     the released weights
python -m facezoo.models.deca outputs source=a.jpg out=FOLDER [model=deca]                     a face in every file
python -m facezoo.models.deca transfer source=a.jpg target=b.jpg out=strip.png [model=deca]    a makes b's face
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from facezoo.errors import InputError, unknown_name
from facezoo.settings import Setting, read_settings, run_module

if TYPE_CHECKING:
    from facezoo.models.deca.predict import Deca

_COMMANDS = {
    "convert": {
        "checkpoint": Setting(needed="deca_model.tar"),
        "out": Setting(needed="FOLDER"),
        "head": Setting("flame2020"),
    },
    "outputs": {
        "source": Setting(needed="photo.jpg"),
        "out": Setting(needed="FOLDER"),
        "model": Setting("deca"),
    },
    "transfer": {
        "source": Setting(needed="a.jpg"),
        "target": Setting(needed="b.jpg"),
        "out": Setting(needed="strip.png"),
        "model": Setting("deca"),
    },
}


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    name = arguments[0]
    if name not in _COMMANDS:
        raise unknown_name("command", name, _COMMANDS)
    given = read_settings(name, arguments[1:], _COMMANDS[name])
    {"convert": _convert, "outputs": _outputs, "transfer": _transfer}[name](given)


def _convert(given: dict[str, Any]) -> None:
    from facezoo.models.deca.config import DecaConfig
    from facezoo.models.deca.convert import convert_checkpoint

    config = DecaConfig(head=given["head"], texture="bfm", n_expression=50, compat="official", points=0)
    digest = convert_checkpoint(given["checkpoint"], given["out"], config)
    print(f"wrote {given['out']} (sha256 {digest[:16]}...); facezoo.load({given['out']!r}) reads it")


def _outputs(given: dict[str, Any]) -> None:
    from facezoo.models.deca.outputs import write_outputs

    model = _load(given["model"])
    faces = model.predict(given["source"])
    if not len(faces):
        raise InputError(f"{given['source']}: no face found.")
    for path in write_outputs(model, faces[0], given["source"], given["out"]):
        print(path)


def _transfer(given: dict[str, Any]) -> None:
    from facezoo.mesh.io.atomic import write_bytes
    from facezoo.models.deca.strip import transfer_strip

    buffer = io.BytesIO()
    transfer_strip(_load(given["model"]), given["source"], given["target"]).save(buffer, "PNG")
    print(write_bytes(given["out"], buffer.getvalue()))


def _load(name: str) -> Deca:
    from facezoo.models.deca.predict import Deca
    from facezoo.models.load import load

    model = load(name)
    if not isinstance(model, Deca):
        raise InputError(f"model={name} is no DECA model.")
    return model


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
