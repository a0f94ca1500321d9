"""Checks that the configurations of recipes share: known names, least values, lists of one length."""

from __future__ import annotations

from collections.abc import Iterable

from facezoo.errors import RecipeError, unknown_name

# Of ``nano`` and of the pooling behind any backbone, see :mod:`facezoo.backbones`.
BLOCKS = ("fused", "basic")
POOLINGS = ("flatten", "avg")


def check_names(section: str, config: object, **known: Iterable[str]) -> None:
    """Refuse a value that is not one of the known names of its field.

    Args:
        section: of the recipe, e.g. ``"model"``.
        config: has the fields.
        known: names by field.

    Raises:
        UnknownNameError: names the nearest known one.
    """
    for field, names in known.items():
        if getattr(config, field) not in names:
            raise unknown_name(f"{section}.{field}", getattr(config, field), names)


def check_least(section: str, config: object, **least: float) -> None:
    """Refuse a value below the least one of its field.

    Raises:
        RecipeError: names the field, its value and the least one.
    """
    for field, lowest in least.items():
        if getattr(config, field) < lowest:
            raise RecipeError(f"{section}.{field}={getattr(config, field)}; expected at least {lowest}")


def check_lengths(section: str, config: object, each: str, *fields: str) -> None:
    """Refuse lists of different lengths that have one entry for ``each`` of something, e.g. ``"stage"``.

    Raises:
        RecipeError: names the fields and their values.
    """
    if len({len(getattr(config, field)) for field in fields}) > 1:
        shown = [f"{section}.{field}={getattr(config, field)}" for field in fields]
        raise RecipeError(f"{', '.join(shown[:-1])} and {shown[-1]} need one entry a {each} each")
