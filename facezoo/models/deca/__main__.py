"""Commands of DECA.

python -m facezoo.models.deca convert checkpoint=deca_model.tar out=FOLDER [head=flame2020]     the released weights
"""

from __future__ import annotations

import sys

from facezoo.errors import FacezooError, InputError, unknown_name

_KEYS = {"checkpoint": "", "out": "", "head": "flame2020"}


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        if arguments[0] != "convert":
            raise unknown_name("command", arguments[0], ("convert",))
        given = dict(_KEYS)
        for item in arguments[1:]:
            key, _, value = item.partition("=")
            if key not in given:
                raise unknown_name("setting", key, given)
            given[key] = value
        if not given["checkpoint"] or not given["out"]:
            raise InputError("convert needs checkpoint=deca_model.tar out=FOLDER")
        from facezoo.models.deca.config import DecaConfig
        from facezoo.models.deca.convert import convert_checkpoint

        config = DecaConfig(head=given["head"], texture="bfm", n_expression=50, compat="official", points=0)
        digest = convert_checkpoint(given["checkpoint"], given["out"], config)
        print(f"wrote {given['out']} (sha256 {digest[:16]}...); facezoo.load({given['out']!r}) reads it")
    except FacezooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
