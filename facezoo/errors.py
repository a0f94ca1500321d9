"""One exception family: whatever a user can mend is a :class:`FacezooError` whose text names cause and cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FacezooError(Exception):
    """Base of everything facezoo raises on purpose; the command line prints its text and exits with 2."""


class InputError(FacezooError, ValueError):
    """What was given cannot be used: a wrong shape, type, value or option."""


class ImageError(InputError):
    """An image is missing, unreadable, truncated or empty."""


class RecipeError(InputError):
    """A recipe or an override of it is wrong."""


class AssetError(FacezooError):
    """A head, a checkpoint or another file on disk is missing, damaged or not what it claims to be."""


class HubError(AssetError):
    """The Hub cannot be reached, refuses, or does not have what was asked for."""


class UnknownNameError(InputError):
    """A name is not in the list of known names."""


def unknown_name(kind: str, given: str, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """Build the error for an unknown name, with the nearest known one and the whole list.

    Args:
        kind: what the name stands for, e.g. ``"model"``.
        given: the name as typed.
        known: all valid names.
        hint: a last sentence, usually the command that lists or adds names.
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.4)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    listing = f" Known: {', '.join(names)}." if names else ""
    return UnknownNameError(f"unknown {kind} {given!r}.{guess}{listing}{' ' + hint if hint else ''}")
