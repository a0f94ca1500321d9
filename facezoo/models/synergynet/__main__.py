"""Commands of SynergyNet.

python -m facezoo.models.synergynet whiten head=open-v1 out=FILE     measure what the codes of a head mean
python -m facezoo.models.synergynet convert checkpoint=best.pth.tar head=bfm-40-10 out=FOLDER     the released weights
"""

from __future__ import annotations

import sys
from typing import Any

from facezoo.errors import unknown_name
from facezoo.settings import Setting, read_settings, run_module, switch, whole

_KEYS = {
    "whiten": {
        "head": Setting("open-v1"),
        "out": Setting(needed="FILE"),
        "people": Setting(1000, whole(1)),
        "jaw": Setting(True, switch),
    },
    "convert": {
        "checkpoint": Setting(needed="best.pth.tar"),
        "head": Setting(needed="bfm-40-10"),
        "out": Setting(needed="FOLDER"),
    },
}


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    return run_module(__doc__, _run, arguments)


def _run(arguments: list[str]) -> None:
    command = arguments[0]
    if command not in _KEYS:
        raise unknown_name("command", command, _KEYS)
    given = read_settings(command, arguments[1:], _KEYS[command])
    if command == "whiten":
        _whiten(given)
        return
    from facezoo.models.synergynet.convert import convert_checkpoint

    digest = convert_checkpoint(given["checkpoint"], given["head"], given["out"])
    print(f"wrote {given['out']} (sha256 {digest[:16]}...); facezoo.load({given['out']!r}) reads it")


def _whiten(given: dict[str, Any]) -> None:
    from facezoo.heads import load_head
    from facezoo.models.synergynet.whitening import explained, population_modes, save_modes

    head = load_head(given["head"])
    shape, expression = population_modes(head, jaw=given["jaw"], count=given["people"])
    save_modes(given["out"], head, shape, expression)
    print(f"wrote {given['out']}; what is left of the face's movement behind so many codes, mm:")
    ranks = [5, 10, 20, 30, 40, 60, 80]
    for name, modes in (("shape", shape), ("expression", expression)):
        left = explained(modes, head, ranks, shape=name == "shape")
        print(f"  {name:<11}" + "  ".join(f"{rank}: {value:.2f}" for rank, value in left.items()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
