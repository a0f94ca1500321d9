"""Find, for every pixel, the nearest triangle: a batched scan-line z-buffer in plain torch.

Why scan lines and not bounding boxes: a triangle of a face mesh covers a few pixels, so a test of every pixel of its
box wastes most of its work. Here each triangle is cut at its middle vertex into two parts with one left and one right
edge, each part is expanded to the pixel rows it meets, and each row to exactly the pixels between the two edges. All
three levels are flat 1-d tensors, so neither triangles nor images are looped over, and what is expanded is what is
covered. One ``scatter_reduce_(amax)`` over ``(1/z, triangle)`` packed into an int64 is the whole z-buffer.

Fill rule: a pixel belongs to a triangle when its centre lies in ``[left, right)`` of its row, and a row when its centre
lies in ``[top, bottom)``. The crossing of an edge with a row is always computed from the edge's upper end with the
same operations, so two triangles that share an edge agree on it to the last bit: no holes, no pixel drawn twice.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEAR = 1e-6  # metres (or whatever unit z has): a vertex closer than this, behind the camera or not finite is invalid
_MIN_AREA = (
    1e-12  # px^2, twice the area; below it a triangle is edge-on and float32 has no barycentrics for it
)
_TINY = 1e-30  # smallest 1/z written: 0 means an empty pixel


class Planes(NamedTuple):
    """Set-up of the triangles that may be seen, one value a triangle, ``(T,)`` each.

    Screen barycentrics at a pixel centre (x, y) are ``l1 = a1 (x - x0) + b1 (y - y0)``, ``l2`` alike and
    ``l0 = 1 - l1 - l2``; ``w0, w1, w2`` are 1/z at the corners, which is linear on the screen.
    """

    x0: Tensor
    y0: Tensor
    a1: Tensor
    b1: Tensor
    a2: Tensor
    b2: Tensor
    w0: Tensor
    w1: Tensor
    w2: Tensor


class Visible(NamedTuple):
    """What the z-buffer found."""

    pixel: Tensor  # (N,) int64, ascending: index into the flattened (B, H, W)
    owner: Tensor  # (N,) int32: position of the pixel's triangle in `triangle` and in `planes`
    triangle: Tensor  # (T,) int64, ascending: b * F + face
    planes: Planes


def visible_triangles(
    vertices: Tensor, corners: Tensor, size: tuple[int, int], cull_backfaces: bool = False
) -> Visible:
    """Rasterise a batch of meshes and keep the nearest triangle of each pixel.

    Args:
        vertices: (B, V, 3), x and y in pixels with pixel centres at .5, z > 0 the camera depth.
        corners: (3, F) int64, the faces transposed and contiguous.
        size: height and width in pixels.
        cull_backfaces: drop triangles that turn clockwise on the screen as a y-up reader sees it, that is those whose
            outward normal (counter-clockwise faces) points away from an OpenCV camera.

    Returns:
        The covered pixels with the triangle each shows; among equal depths the lowest face index wins.
    """
    height, width = size
    batch, count = vertices.shape[0], vertices.shape[1]
    device = vertices.device
    faces = corners.shape[1]

    keys, inverse_z = _vertex_keys(vertices)
    first = torch.arange(0, batch * count, count, device=device).view(1, batch, 1)
    corner = (corners.unsqueeze(1) + first).view(3, batch * faces)
    key = keys.index_select(0, corner.view(-1)).view(3, batch * faces)

    # Sorting (y, x) as one integer costs three minima and three maxima; torch.where on random masks costs far more.
    low, high = torch.minimum(key[0], key[1]), torch.maximum(key[0], key[1])
    top, bottom = torch.minimum(low, key[2]), torch.maximum(high, key[2])
    middle = torch.maximum(low, torch.minimum(high, key[2]))
    xs, ys = _unpack_keys(torch.stack((top, middle, bottom)))
    rows = (ys - 0.5).ceil_().clamp_(0, height)  # first pixel row at or below each corner
    columns = (torch.stack((xs.amin(0), xs.amax(0))) - 0.5).ceil_().clamp_(0, width)
    keep = (rows[2] > rows[0]) & (
        columns[1] > columns[0]
    )  # NaN compares false, which drops invalid triangles

    x, y = (p.reshape(-1).index_select(0, corner.view(-1)).view(3, -1) for p in vertices.unbind(-1)[:2])
    x01, x02, y01, y02 = x[1] - x[0], x[2] - x[0], y[1] - y[0], y[2] - y[0]
    area = x01 * y02 - x02 * y01
    # y points down, so a face that is counter-clockwise to the eye has a negative area here.
    keep &= (area < -_MIN_AREA) if cull_backfaces else (area.abs() > _MIN_AREA)

    triangle = keep.nonzero().view(-1)
    inverse_area = area.index_select(0, triangle).reciprocal_()
    w = inverse_z.index_select(0, corner.index_select(1, triangle).view(-1)).view(3, -1)
    planes = Planes(
        x[0].index_select(0, triangle),
        y[0].index_select(0, triangle),
        y02.index_select(0, triangle).mul_(inverse_area),
        x02.index_select(0, triangle).neg_().mul_(inverse_area),
        y01.index_select(0, triangle).neg_().mul_(inverse_area),
        x01.index_select(0, triangle).mul_(inverse_area),
        *w.unbind(0),
    )
    base = triangle.div(faces, rounding_mode="floor").mul_(height * width) if batch > 1 else None
    buffer = torch.zeros(batch * height * width, dtype=torch.int64, device=device)
    _draw(buffer, xs.index_select(1, triangle), ys.index_select(1, triangle), rows.index_select(1, triangle),
          base, planes, width)  # fmt: skip
    pixel = buffer.nonzero().view(-1)
    owner = buffer.view(torch.int32)[::2].index_select(0, pixel).bitwise_not_()
    return Visible(pixel, owner, triangle, planes)


def _vertex_keys(vertices: Tensor) -> tuple[Tensor, Tensor]:
    """Pack (x, y) of each vertex into an int64 that sorts by y, then x; invalid vertices get y = NaN.

    Returns the keys (B * V,) and 1/z (B * V,). Positive floats sort like their bits; the others need theirs flipped.
    """
    x, y, z = vertices.unbind(-1)
    pair = torch.empty(*x.shape, 2, dtype=torch.float32, device=vertices.device)
    valid = torch.isfinite(x) & torch.isfinite(y) & torch.isfinite(z) & (z > NEAR)
    pair[..., 0] = x
    pair[..., 1] = torch.where(valid, y, torch.nan)
    bits = pair.view(torch.int32)
    bits[..., 1] ^= (bits[..., 1] >> 31) & 0x7FFFFFFF
    return pair.view(torch.int64).view(-1), z.reciprocal().view(-1)


def _unpack_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Undo `_vertex_keys`: x and y, shaped like keys, float32."""
    bits = keys.view(torch.int32).view(*keys.shape, 2)
    y = bits[..., 1]
    return bits[..., 0].contiguous().view(torch.float32), (y ^ ((y >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _expand(counts: Tensor) -> tuple[Tensor, Tensor, int]:
    """List owner 0 counts[0] times, owner 1 counts[1] times and so on.

    A cumulative sum over marks: three times as fast as repeat_interleave on a CPU.

    Returns:
        owner (N,) int32, offset (M,) int64 of each owner's first item, and N.
    """
    ends = counts.cumsum(0)
    total = int(ends[-1]) if ends.numel() else 0
    offset = ends - counts
    one = torch.ones((), dtype=torch.int32, device=counts.device)
    marks = torch.zeros(total + 1, dtype=torch.int32, device=counts.device)
    marks.scatter_add_(0, offset[1:], one.expand(max(offset.numel() - 1, 0)))
    return marks[:total].cumsum(0, dtype=torch.int32), offset, total


def _draw(
    buffer: Tensor, xs: Tensor, ys: Tensor, rows: Tensor, base: Tensor | None, planes: Planes, width: int
) -> None:
    """Write (1/z, ~triangle) of all triangles into the z-buffer.

    Args:
        buffer: (B * H * W,) int64 of zeros.
        xs, ys, rows: (3, T) corners sorted by y and the first row at or below each.
        base: (T,) offset of the triangle's image in the buffer, or None for one image.
        planes: set-up of the triangles.
        width: of the image.
    """
    device = buffer.device
    p = Planes(*(q.to(torch.float32) for q in planes))
    e1, e2 = p.w1 - p.w0, p.w2 - p.w0
    slope_x, slope_y = p.a1 * e1 + p.a2 * e2, p.b1 * e1 + p.b2 * e2
    w_max = torch.maximum(torch.maximum(p.w0, p.w1), p.w2)
    # 1/z at the centre of pixel (0, 0): extrapolating there costs 1e-5 px of accuracy and saves gathers.
    w_zero = p.w0 + slope_x * (0.5 - p.x0) + slope_y * (0.5 - p.y0)

    dx, dy = (
        torch.stack((xs[2] - xs[0], xs[1] - xs[0], xs[2] - xs[1])),
        torch.stack((ys[2] - ys[0], ys[1] - ys[0], ys[2] - ys[1])),
    )
    slope = dx / dy
    start = rows.to(torch.int64)
    # Two parts a triangle, interleaved: above and below the middle corner. Part 2t+1 starts at the middle.
    part, offset, total = _expand(_interleave(start[1] - start[0], start[2] - start[1]))
    t = part >> 1
    row = torch.arange(total, device=device).add_(
        _interleave(start[0], start[1]).sub_(offset).index_select(0, part)
    )
    y = row.to(torch.float32)
    centre = y + 0.5

    def of_triangle(values: Tensor) -> Tensor:
        return values.index_select(0, t)

    def of_part(upper: Tensor, lower: Tensor) -> Tensor:
        return _interleave(upper, lower).index_select(0, part)

    # Separate sub, mul, add: a fused one would round differently in vector bodies and tails, and edges would disagree.
    long = (centre - of_triangle(ys[0])).mul_(of_triangle(slope[0])).add_(of_triangle(xs[0]))
    short = (centre - of_part(ys[0], ys[1])).mul_(of_part(slope[1], slope[2])).add_(of_part(xs[0], xs[1]))
    left = torch.minimum(long, short).sub_(0.5).ceil_().clamp_(0, width)
    right = torch.maximum(long, short).sub_(0.5).ceil_().clamp_(0, width)

    along = of_triangle(slope_x)
    w = (along * left).add_(y.mul_(of_triangle(slope_y))).add_(of_triangle(w_zero))
    w = torch.minimum(
        w, of_triangle(w_max)
    )  # a sliver must not extrapolate itself in front of its neighbours
    span, offset, total = _expand((right - left).nan_to_num_(0.0).to(torch.int64))
    address = row.mul_(width).add_(left.to(torch.int64)).sub_(offset)
    if base is not None:
        address.add_(of_triangle(base))

    index = torch.arange(total, device=device)
    address = address.index_select(0, span).add_(index)
    # Pairs of 32-bit values travel as one int64: one gather instead of two, and the packed word needs no packing.
    step = _pair(offset.to(torch.float32), along).index_select(0, span).view(torch.float32).view(-1, 2)
    word = _pair(t.bitwise_not().view(torch.float32), w).index_select(0, span)
    depth = word.view(torch.float32)[1::2]
    depth.add_((index.to(torch.float32) - step[:, 0]).mul_(step[:, 1])).clamp_(min=_TINY)
    buffer.scatter_reduce_(0, address, word, "amax")


def _interleave(even: Tensor, odd: Tensor) -> Tensor:
    """Merge (T,) and (T,) into (2T,)."""
    return torch.stack((even, odd), -1).view(-1)


def _pair(low: Tensor, high: Tensor) -> Tensor:
    """Pack two float32 (T,) into one int64 (T,); the second holds the leading bits (little-endian memory)."""
    return torch.stack((low, high), -1).view(torch.int64).view(-1)
