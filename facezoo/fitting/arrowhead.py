"""Linear systems shaped like an arrowhead: frames coupled to their neighbours, and all to a few shared unknowns.

    | D1 F1' S1' .  | B1 |        D: diagonal, F: first, S: second off-diagonal blocks, B: border, A: shared
    | F1 D2 F2' S2' | B2 |
    | S1 F2 D3 F3'  | B3 |        Elimination from the first frame on fills nothing in, so the cost of a
    | .  S2 F3 D4   | B4 |        factorisation is T (L³ + L² S) + T L S² + S³: linear in the number of frames T.
    | B1' B2' B3'.. | A  |

Source: the Schur complement of bundle adjustment (Triggs et al. 2000, section 6), with a banded instead of a block
diagonal for accelerations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Arrowhead(NamedTuple):
    """A symmetric matrix over T frames of L unknowns each, then S shared ones.

    Attributes:
        shared: (S, S).
        border: (T, L, S).
        diagonal: (T, L, L).
        first: (T - 1, L, L), rows of frame t + 1, columns of frame t; None when frames do not touch.
        second: (T - 2, L, L), rows of frame t + 2, columns of frame t; None likewise.
    """

    shared: Tensor
    border: Tensor
    diagonal: Tensor
    first: Tensor | None = None
    second: Tensor | None = None

    @staticmethod
    def zeros(frames: int, local: int, shared: int, *, banded: bool, like: Tensor) -> Arrowhead:
        """Return a matrix of zeros in the precision and on the device of ``like``."""
        new = like.new_zeros
        return Arrowhead(
            new(shared, shared),
            new(frames, local, shared),
            new(frames, local, local),
            new(max(frames - 1, 0), local, local) if banded else None,
            new(max(frames - 2, 0), local, local) if banded else None,
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Return T, L, S."""
        frames, local, shared = self.border.shape
        return frames, local, shared

    def split(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Take a vector (T L + S,) apart: (T, L) and (S,)."""
        frames, local, _ = self.sizes
        return vector[: frames * local].view(frames, local), vector[frames * local :]

    def diagonal_vector(self) -> Tensor:
        """Return the diagonal (T L + S,)."""
        return torch.cat((self.diagonal.diagonal(dim1=1, dim2=2).flatten(), self.shared.diagonal()))

    def multiply(self, vector: Tensor) -> Tensor:
        """Multiply with a vector (T L + S,)."""
        frame, shared = self.split(vector)
        out = _times(self.diagonal, frame) + self.border @ shared
        for step, block in ((1, self.first), (2, self.second)):
            if block is not None and len(block):
                out[step:] += _times(block, frame[:-step])
                out[:-step] += _times(block.mT, frame[step:])
        return torch.cat(
            (out.flatten(), self.shared @ shared + torch.einsum("tls,tl->s", self.border, frame))
        )

    def scale_(self, scale: Tensor) -> Arrowhead:
        """Multiply row and column i with ``scale[i]``, in place; (T L + S,)."""
        frame, shared = self.split(scale)
        self.shared.mul_(shared[:, None]).mul_(shared)
        self.border.mul_(frame[:, :, None]).mul_(shared)
        self.diagonal.mul_(frame[:, :, None]).mul_(frame[:, None])
        for step, block in ((1, self.first), (2, self.second)):
            if block is not None and len(block):
                block.mul_(frame[step:, :, None]).mul_(frame[:-step, None])
        return self

    def dense(self) -> Tensor:
        """Return the whole matrix (T L + S, T L + S), for small problems and tests."""
        frames, local, shared = self.sizes
        n = frames * local
        out = self.shared.new_zeros(n + shared, n + shared)
        grid = out[:n, :n].view(frames, local, frames, local)
        for t in range(frames):
            grid[t, :, t] = self.diagonal[t]
        for step, block in ((1, self.first), (2, self.second)):
            for t in range(0 if block is None else len(block)):
                assert block is not None
                grid[t + step, :, t], grid[t, :, t + step] = block[t], block[t].mT
        out[:n, n:], out[n:, :n] = self.border.reshape(n, shared), self.border.reshape(n, shared).mT
        out[n:, n:] = self.shared
        return out

    def factor(self, lift: Tensor) -> Factor | None:
        """Factorise the matrix plus diag(lift).

        Args:
            lift: (T L + S,).

        Returns:
            What solves with it, or None when it is not positive definite.
        """
        frame, shared = self.split(lift)
        diagonal = self.diagonal + torch.diag_embed(frame)
        banded = self.first is not None
        chain = _eliminate(diagonal, self.first, self.second) if banded else _separate(diagonal)
        if chain is None:
            return None
        eliminated = chain.forward(self.border)
        flat = eliminated.flatten(0, 1)
        corner = self.shared + torch.diag(shared) - flat.mT @ flat
        factor, info = torch.linalg.cholesky_ex(corner)
        return None if int(info) else Factor(chain, eliminated, factor)


class Chain(NamedTuple):
    """The Cholesky factor of the frames' part.

    Attributes:
        pivots: (T, L, L) lower triangular.
        first, second: (T - 1, L, L) and (T - 2, L, L) blocks below the diagonal; None when frames do not touch.
    """

    pivots: Tensor
    first: Tensor | None
    second: Tensor | None

    def forward(self, right: Tensor) -> Tensor:
        """Solve L y = right, (T, L, k)."""
        if self.first is None or self.second is None:
            return torch.linalg.solve_triangular(self.pivots, right, upper=False)
        out: list[Tensor] = []
        for t, pivot in enumerate(self.pivots):
            rest = right[t]
            if t > 0:
                rest = rest - self.first[t - 1] @ out[t - 1]
            if t > 1:
                rest = rest - self.second[t - 2] @ out[t - 2]
            out.append(torch.linalg.solve_triangular(pivot, rest, upper=False))
        return torch.stack(out)

    def backward(self, right: Tensor) -> Tensor:
        """Solve Lᵀ x = right, (T, L, k)."""
        if self.first is None or self.second is None:
            return torch.linalg.solve_triangular(self.pivots.mT, right, upper=True)
        count = len(self.pivots)
        out = torch.empty_like(right)
        for t in range(count - 1, -1, -1):
            rest = right[t]
            if t + 1 < count:
                rest = rest - self.first[t].mT @ out[t + 1]
            if t + 2 < count:
                rest = rest - self.second[t].mT @ out[t + 2]
            out[t] = torch.linalg.solve_triangular(self.pivots[t].mT, rest, upper=True)
        return out


class Factor(NamedTuple):
    """A factorised arrowhead.

    Attributes:
        chain: factor of the frames.
        eliminated: (T, L, S) the border behind it.
        corner: (S, S) lower triangular factor of the Schur complement.
    """

    chain: Chain
    eliminated: Tensor
    corner: Tensor

    def solve(self, right: Tensor) -> Tensor:
        """Solve for a vector (T L + S,)."""
        frames, local, _ = self.eliminated.shape
        head = self.chain.forward(right[: frames * local].view(frames, local, 1))
        tail = right[frames * local :] - torch.einsum("tls,tl->s", self.eliminated, head[..., 0])
        shared = torch.cholesky_solve(tail[:, None], self.corner)[:, 0]
        frame = self.chain.backward(head - (self.eliminated @ shared)[..., None])
        return torch.cat((frame.flatten(), shared))


def _times(blocks: Tensor, vectors: Tensor) -> Tensor:
    return (blocks @ vectors[..., None])[..., 0]


def _separate(diagonal: Tensor) -> Chain | None:
    pivots, info = torch.linalg.cholesky_ex(diagonal)
    return None if bool(info.any()) else Chain(pivots, None, None)


def _eliminate(diagonal: Tensor, first: Tensor | None, second: Tensor | None) -> Chain | None:
    """Factorise frame after frame; each touches the two before it."""
    assert first is not None and second is not None
    pivots, ones, twos = torch.empty_like(diagonal), torch.empty_like(first), torch.empty_like(second)
    for t, block in enumerate(diagonal):
        if t > 0:
            block = block - ones[t - 1] @ ones[t - 1].mT
        if t > 1:
            block = block - twos[t - 2] @ twos[t - 2].mT
        pivots[t], info = torch.linalg.cholesky_ex(block)
        if int(info):
            return None
        if t < len(first):
            below = first[t] if t == 0 else first[t] - twos[t - 1] @ ones[t - 1].mT
            ones[t] = torch.linalg.solve_triangular(pivots[t], below.mT, upper=False).mT
        if t < len(second):
            twos[t] = torch.linalg.solve_triangular(pivots[t], second[t].mT, upper=False).mT
    return Chain(pivots, ones, twos)
