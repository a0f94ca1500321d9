"""Consistency by swapping: pictures of one person must be explained by each other's identity, or detail.

Instead of a term of its own (Feng et al. 2021, equations 6 and 11) codes are exchanged between a person's pictures and
every other loss is applied to the exchanged half as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facezoo.errors import InputError


def exchange(batch: int, pictures: int, generator: torch.Generator | None = None) -> Tensor:
    """Return row numbers (B,) that exchange rows within people, each person's by a shift drawn for it alone.

    No row stays where it is, so that every swapped picture is explained by another one's code.

    Args:
        batch: B rows, the pictures of a person side by side.
        pictures: of each person, at least 2.
        generator: of the draw.

    Raises:
        InputError: B is no multiple of ``pictures``, or one picture a person, which has nothing to exchange.
    """
    if pictures < 2 or batch % pictures:
        raise InputError(
            f"a batch of {batch} cannot be exchanged among {pictures} pictures a person; the batch size must be a "
            "multiple of two or more pictures."
        )
    people = batch // pictures
    shift = torch.randint(1, pictures, (people, 1), generator=generator)
    within = (torch.arange(pictures) + shift) % pictures
    return (torch.arange(people)[:, None] * pictures + within).flatten()


def swapped(values: Tensor, rows: Tensor) -> Tensor:
    """Append the exchanged rows to values (B, ...): (2 B, ...)."""
    return torch.cat([values, values[rows.to(values.device)]])


def doubled(values: Tensor) -> Tensor:
    """Append values (B, ...) to themselves: (2 B, ...)."""
    return torch.cat([values, values])
