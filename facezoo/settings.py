"""Settings of a command line, ``key=value``: checked against the known keys, converted, or refused in one sentence.

A command declares what it knows and reads its words with :func:`read_settings`; a module with a command line of its own
runs through :func:`run_module`. Recipes have a grammar of their own (:mod:`facezoo.config`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facezoo.errors import FacezooError, InputError, unknown_name


@dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
        default: its value if it is not given; None if there is none, so that the key is absent then.
        kind: from text to value; a ValueError's text says what was expected.
        needed: what to write where the key must be given, e.g. ``"FOLDER"``; empty if it need not.
    """

    default: Any = None
    kind: Callable[[str], Any] = str
    needed: str = ""


def read_settings(command: str, words: Iterable[str], known: Mapping[str, Setting]) -> dict[str, Any]:
    """Read ``key=value`` words.

    Args:
        command: what is named in errors, e.g. ``"convert"``.
        words: as typed.
        known: the command's settings by key.

    Returns:
        Converted values by key; defaults where nothing was given, without the keys that have no default.

    Raises:
        UnknownNameError: an unknown key; names the nearest known one.
        InputError: no ``key=value``, a key twice, a value that cannot be converted, or a needed key that is missing.
    """
    values = {key: setting.default for key, setting in known.items() if setting.default is not None}
    given: set[str] = set()
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise InputError(f"{command}: expected key=value, got {word!r}; keys: {', '.join(known)}.")
        if key not in known:
            raise unknown_name(f"{command} setting", key, known)
        if key in given:
            raise InputError(f"{command}: {key}= is given twice.")
        given.add(key)
        try:
            values[key] = known[key].kind(text)
        except ValueError as error:
            raise InputError(f"{command}: {key} must be {error}, got {text!r}.") from error
    missing = [
        f"{key}={setting.needed}" for key, setting in known.items() if setting.needed and not values.get(key)
    ]
    if missing:
        raise InputError(f"{command} needs {' '.join(missing)}")
    return values


def split_words(words: Iterable[str], known: Iterable[str]) -> tuple[list[str], list[str]]:
    """Part a command's own settings, whose keys are ``known``, from a recipe's, which it passes on."""
    words, keys = list(words), set(known)
    own = [word for word in words if word.partition("=")[0] in keys]
    return own, [word for word in words if word.partition("=")[0] not in keys]


def whole(least: int = 0) -> Callable[[str], int]:
    """Return the kind of whole numbers from ``least`` on."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ValueError(f"a whole number from {least} on" if least else "a whole number")
        return int(text)

    return convert


def number(text: str) -> float:
    """Convert a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError("a positive number")
    return value


def switch(text: str) -> bool:
    """Convert ``true`` or ``false``."""
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def several(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Return the kind of values of one kind with commas between."""

    def convert(text: str) -> list[Any]:
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError as error:
            raise ValueError(f"{error} each, with commas between") from error

    return convert


def run_module(text: str | None, run: Callable[[list[str]], None], arguments: Sequence[str]) -> int:
    """Run the command line of ``python -m MODULE``; return its exit code.

    Args:
        text: the module's help, printed for ``-h`` and ``--help`` anywhere, and to stderr where nothing is given.
        run: does the work; what a user can mend it raises as a :class:`FacezooError`.
        arguments: words behind the module's name.

    Returns:
        0, or 2 if the input was refused.
    """
    if not arguments:
        print(text, file=sys.stderr)
        return 2
    if "-h" in arguments or "--help" in arguments:
        print(text)
        return 0
    try:
        run(list(arguments))
    except FacezooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
