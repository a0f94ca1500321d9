"""What drives a head and what comes out: parameters as data, with their roles, names and prior widths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from facezoo.errors import InputError

Role = Literal["identity", "expression", "rotation", "translation"]


@dataclass(frozen=True)
class HeadParams:
    """Parameters of a batch of heads; ``None`` stands for zeros.

    Attributes:
        identity: (B, k) coefficients in standard deviations, k at most the head's ``n_identity``.
        expression: (B, k) coefficients, k at most the head's ``n_expression``.
        rotation: (B, 3) axis-angle of joint 0, radians; the head turns about that joint, not about the
            origin.
        neck: (B, 3) axis-angle of the neck joint.
        jaw: (B, 3) axis-angle of the jaw joint; a positive x component opens the mouth.
        left_eye: (B, 3) axis-angle of the subject's left eye.
        right_eye: (B, 3) axis-angle of the subject's right eye.
        translation: (B, 3) metres, added last.
    """

    identity: Tensor | None = None
    expression: Tensor | None = None
    rotation: Tensor | None = None
    neck: Tensor | None = None
    jaw: Tensor | None = None
    left_eye: Tensor | None = None
    right_eye: Tensor | None = None
    translation: Tensor | None = None

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, tensor) of the parameters that are given."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                yield field.name, value

    @property
    def batch_size(self) -> int:
        """Return B; a parameter with one row serves the whole batch.

        Raises:
            InputError: a parameter is not (B, n) or two of them disagree on B.
        """
        size, owner = 1, ""
        for name, value in self.items():
            if value.ndim != 2:
                raise InputError(f"HeadParams.{name} must be (B, n), got shape {tuple(value.shape)}.")
            if value.shape[0] != size and value.shape[0] != 1:
                if owner:
                    raise InputError(
                        f"HeadParams.{name} has {value.shape[0]} rows but HeadParams.{owner} has {size}; "
                        "give all parameters the same batch size (or one row)."
                    )
                size, owner = value.shape[0], name
        return size

    def map(self, function: Callable[[Tensor], Tensor]) -> HeadParams:
        """Apply ``function`` to every given tensor."""
        return HeadParams(**{name: function(value) for name, value in self.items()})

    def to(self, *args: Any, **kwargs: Any) -> HeadParams:
        """Move or convert every tensor, with the arguments of :meth:`torch.Tensor.to`."""
        return self.map(lambda value: value.to(*args, **kwargs))

    def detach(self) -> HeadParams:
        """Return the same values outside the autograd graph."""
        return self.map(Tensor.detach)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> HeadParams:
        """Select rows of the batch; an integer keeps a batch of one."""
        size = self.batch_size
        if isinstance(index, int):
            if not -size <= index < size:
                raise IndexError(f"row {index} of a batch of {size}")
            index = [index]
        return self.map(lambda value: value.expand(size, -1)[index])

    @staticmethod
    def cat(parts: Sequence[HeadParams]) -> HeadParams:
        """Join batches; a parameter that only some parts give is zero in the others.

        Raises:
            InputError: ``parts`` is empty or the coefficient counts differ.
        """
        if not parts:
            raise InputError("HeadParams.cat needs at least one HeadParams.")
        sizes = [part.batch_size for part in parts]
        joined: dict[str, Tensor] = {}
        for field in dataclasses.fields(HeadParams):
            values = [getattr(part, field.name) for part in parts]
            given = [value for value in values if value is not None]
            if not given:
                continue
            if len({value.shape[-1] for value in given}) > 1:
                counts = [value.shape[-1] for value in given]
                raise InputError(f"HeadParams.cat: {field.name} has different sizes {counts}.")
            zero = torch.zeros_like(given[0][:1])
            joined[field.name] = torch.cat(
                [(zero if v is None else v).expand(size, -1) for v, size in zip(values, sizes, strict=True)]
            )
        return HeadParams(**joined)


PARAM_NAMES: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(HeadParams))
JOINT_NAMES: tuple[str, ...] = ("rotation", "neck", "jaw", "left_eye", "right_eye")


class HeadOutput(NamedTuple):
    """Posed geometry, metres: ``vertices`` (B, V', 3) in the order asked for, ``joints`` (B, 5, 3)."""

    vertices: Tensor
    joints: Tensor


@dataclass(frozen=True)
class ParamSpec:
    """One parameter group of a head.

    Attributes:
        name: field of :class:`HeadParams`.
        size: number of components.
        role: what the group means; solvers and priors choose by role.
        sigma: (size,) prior standard deviation; ``inf`` = no prior.
        names: one name a component.
        bounds: (size, 2) lowest and highest sensible value, or None where the prior is all there is.
    """

    name: str
    size: int
    role: Role
    sigma: Tensor
    names: tuple[str, ...]
    bounds: Tensor | None = None
