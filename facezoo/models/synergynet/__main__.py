"""Commands of SynergyNet.

python -m facezoo.models.synergynet whiten head=open-v1 out=FILE     measure what the codes of a head mean
python -m facezoo.models.synergynet convert checkpoint=best.pth.tar head=bfm-40-10 out=FOLDER     the released weights
"""

from __future__ import annotations

import sys

from facezoo.errors import FacezooError, InputError, unknown_name

# command -> setting -> what it is by default, None if it must be given
_KEYS: dict[str, dict[str, str | None]] = {
    "whiten": {"head": "open-v1", "out": None, "people": "1000", "jaw": "true"},
    "convert": {"checkpoint": None, "head": None, "out": None},
}


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        command, given = arguments[0], _settings(arguments[0], arguments[1:])
        if command == "whiten":
            _whiten(given)
        else:
            from facezoo.models.synergynet.convert import convert_checkpoint

            digest = convert_checkpoint(given["checkpoint"], given["head"], given["out"])
            print(f"wrote {given['out']} (sha256 {digest[:16]}...); facezoo.load({given['out']!r}) reads it")
    except FacezooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _whiten(given: dict[str, str]) -> None:
    from facezoo.heads import load_head
    from facezoo.models.synergynet.whitening import explained, population_modes, save_modes

    if not given["people"].isdigit() or given["jaw"] not in ("true", "false"):
        raise InputError(f"people={given['people']} jaw={given['jaw']}; expected a number, and true or false")
    head = load_head(given["head"])
    shape, expression = population_modes(head, jaw=given["jaw"] == "true", count=int(given["people"]))
    save_modes(given["out"], head, shape, expression)
    print(f"wrote {given['out']}; what is left of the face's movement behind so many codes, mm:")
    ranks = [5, 10, 20, 30, 40, 60, 80]
    for name, modes in (("shape", shape), ("expression", expression)):
        left = explained(modes, head, ranks, shape=name == "shape")
        print(f"  {name:<11}" + "  ".join(f"{rank}: {value:.2f}" for rank, value in left.items()))


def _settings(command: str, items: list[str]) -> dict[str, str]:
    if command not in _KEYS:
        raise unknown_name("command", command, _KEYS)
    known = _KEYS[command]
    given = {key: value for key, value in known.items() if value is not None}
    for item in items:
        key, equals, value = item.partition("=")
        if key not in known or not equals:
            raise unknown_name("setting", item, [f"{name}=" for name in known])
        given[key] = value
    if missing := [key for key in known if not given.get(key)]:
        raise InputError(f"{command} needs {' '.join(f'{key}=...' for key in missing)}")
    return given


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
