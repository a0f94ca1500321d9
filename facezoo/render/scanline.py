"""Find, for every pixel, the nearest triangle: a batched scan-line z-buffer in plain torch.

Why scan lines and not bounding boxes: a triangle of a face mesh covers a few pixels, so testing every pixel of its box
wastes most of the work. Here each triangle is cut at its middle corner into two parts with one edge on either side,
each part is expanded to the pixel rows it meets, and each row to exactly the pixels between the two edges. All three
levels are flat tensors, so neither triangles nor images are looped over, and only what is covered is computed. One
``scatter_reduce_(amax)`` over (1/z, triangle) packed into 64 bits is the whole z-buffer.

Fill rule: a pixel belongs to a triangle when its centre lies in [left, right) of its row, and the row when it lies in
[top, bottom). Where an edge crosses a row is computed from the edge's upper end by the same operations in both
triangles that share it, so they agree to the last bit: no holes, no pixel drawn twice.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEAR = 1e-6  # unit of z: a vertex nearer than this, behind the camera or not finite is invalid
FAR_OFF = float(1 << 20)  # pixels: a vertex farther than this from the origin is invalid
EDGE_ON = 1e-12  # px^2, twice the area: a triangle below it is not drawn
_FLAT = 1e-3  # px^2, twice the area: a triangle below it is drawn at one depth, as its slope would be mere rounding
_AT_ONCE = 1 << 24  # pixels of all triangles written together; bounds memory where large triangles overlap
_TINY = 1e-30  # smallest 1/z written; 0 stands for an empty pixel


class Corners(NamedTuple):
    """The corners of all triangles of some images, gathered once.

    Triangle 0 of each image is a dummy with 1/z = 0 that is never drawn: what empty pixels point to. A triangle's
    number is ``image * (F + 1) + face + 1``; T = B * (F + 1).
    """

    x: Tensor  # (3, T), strided
    y: Tensor  # (3, T), strided; NaN at invalid vertices
    w: Tensor  # (3, T), 1/z
    xy: Tensor  # (3, T, 2), both, contiguous


class Drawn(NamedTuple):
    """A z-buffer, and the rectangle outside of which it is empty."""

    triangle: Tensor  # (B, H, W) int32, strided: the number of the triangle seen, 0 where there is none
    inverse_depth: Tensor  # (B, H, W) float32, strided: 1/z, 0 where there is none
    rows: tuple[int, int]
    columns: tuple[int, int]


def padded_faces(faces: Tensor, vertices: int) -> Tensor:
    """Transpose faces (F, 3) to (3, F + 1) with the dummy face in front."""
    return torch.cat((faces.new_full((1, 3), vertices), faces)).t().contiguous()


def gather_corners(vertices: Tensor, faces: Tensor) -> Corners:
    """Gather corners: (B, V, 3) vertices on the screen, (3, F + 1) `padded_faces`."""
    batch, count, _ = vertices.shape
    x, y, z = vertices.unbind(-1)
    valid = (z > NEAR) & (z < torch.inf) & (torch.maximum(x.abs(), y.abs()) < FAR_OFF)
    xy = vertices.new_zeros(batch, count + 1, 2)
    xy[:, :count, 0] = x
    xy[:, :count, 1] = torch.where(valid, y, torch.nan)
    w = vertices.new_zeros(batch, count + 1)
    w[:, :count] = torch.where(valid, z, torch.inf).reciprocal_()
    first = torch.arange(0, batch * (count + 1), count + 1, device=faces.device).view(1, batch, 1)
    index = (faces.unsqueeze(1) + first).reshape(-1)
    xy = torch.view_as_complex(xy).view(-1).index_select(0, index)  # one gather for both coordinates
    xy = torch.view_as_real(xy).view(3, -1, 2)
    return Corners(xy[..., 0], xy[..., 1], w.view(-1).index_select(0, index).view(3, -1), xy)


def draw(corners: Corners, images: int, size: tuple[int, int], cull_backfaces: bool = False) -> Drawn:
    """Draw triangles into a z-buffer.

    Args:
        corners: float32.
        images: how many images they belong to.
        size: (H, W).
        cull_backfaces: draw only triangles that are counter-clockwise to the eye; y points down on the screen.

    Returns:
        The nearest triangle of each pixel; among equal depths the one of the lowest number.
    """
    height, width = size
    device = corners.xy.device
    triangles = corners.w.shape[1]
    stride = 1 << (width - 1).bit_length()  # a power of two, so that x is the low bits of an address

    # Triangles: corners sorted by y, and the rows of the parts above (0) and below (1) the middle corner.
    x, y = _sorted_by_y(corners.xy)
    slope = torch.stack((x[1] - x[0], x[2] - x[1], x[2] - x[0]))
    slope /= torch.stack((y[1] - y[0], y[2] - y[1], y[2] - y[0]))
    across, down, nearness, area = _depth_planes(corners)
    drawn = (area < -EDGE_ON) if cull_backfaces else (area.abs() > EDGE_ON)
    rows = (y - 0.5).ceil_().clamp_(0, height)  # the first row at or below each corner
    rows.masked_fill_(drawn.logical_not_(), 0)  # NaN compares false, so invalid triangles get no rows either
    rows = rows.to(torch.int32)

    # Rows: where the two edges of the part cross them.
    part, offset, total, upper = _expand((rows[1:] - rows[:2]).view(-1))
    ramp = torch.arange(total, dtype=torch.int32, device=device)
    row = (rows[:2].view(-1) - offset).index_select(0, part).add_(ramp)
    depth_row = row.to(torch.float32)
    centre = depth_row + 0.5

    def crossing(corner_x: Tensor, corner_y: Tensor, slopes: Tensor, index: Tensor) -> Tensor:
        # Separate sub, mul, add: a fused one rounds differently in a loop's body and tail, and edges would disagree.
        along = centre - corner_y.index_select(0, index)
        return along.mul_(slopes.index_select(0, index)).add_(corner_x.index_select(0, index))

    short = crossing(x[:2].view(-1), y[:2].view(-1), slope[:2].view(-1), part)
    part[upper:] -= triangles  # from here on the triangle's number
    long = crossing(x[0], y[0], slope[2], part)
    ends = torch.stack((torch.minimum(short, long), torch.maximum(short, long)))
    ends = ends.sub_(0.5).ceil_().clamp_(0, width).to(torch.int32)

    depth_slope = across.index_select(0, part)
    depth_row = depth_row.mul_(down.index_select(0, part)).add_(nearness.index_select(0, part))
    bounds = _bounds(row, ends, size)
    base = torch.arange(0, images * height * stride, height * stride, dtype=torch.int32, device=device)
    base = base.repeat_interleave(triangles // images)
    address = row.mul_(stride).add_(ends[0]).add_(base.index_select(0, part))

    buffer = torch.zeros(images * height * stride, dtype=torch.float64, device=device)
    count = ends[1] - ends[0]
    blocks = 1 + int(count.sum()) // _AT_ONCE
    pieces = (q.chunk(blocks) for q in (count, address, part, depth_row, depth_slope))
    for some, at, triangle, start, along in zip(*pieces, strict=True):
        _write(buffer, some, at, triangle, start, along, stride)
    buffer = buffer.view(torch.float32).view(images, height, stride, 2)[:, :, :width]
    return Drawn(buffer.view(torch.int32)[..., 0], buffer[..., 1], *bounds)


def _write(
    buffer: Tensor,
    count: Tensor,
    address: Tensor,
    triangle: Tensor,
    depth_row: Tensor,
    depth_slope: Tensor,
    stride: int,
) -> None:
    """Write the pixels of rows (R,) into the z-buffer, and the triangle's number with them.

    A word is 1/z in the leading half (memory is little-endian) and minus the triangle's number in the other.
    """
    row, offset, total, _ = _expand(count)
    address = (address - offset).index_select(0, row)
    address += torch.arange(total, dtype=torch.int32, device=buffer.device)
    depth = (address & (stride - 1)).to(torch.float32).mul_(depth_slope.index_select(0, row))
    depth.add_(depth_row.index_select(0, row)).clamp_(min=_TINY)
    number = triangle.neg().view(torch.float32).index_select(0, row)
    word = torch.complex(number, depth).view(torch.float64)  # positive doubles sort like their bits, and fast
    buffer.scatter_reduce_(0, address.to(torch.int64), word, "amax")


def _sorted_by_y(xy: Tensor) -> tuple[Tensor, Tensor]:
    """Sort three corners (3, T, 2) by y, then x; return x and y, (3, T) each, contiguous.

    As one integer each: three minima and maxima. Positive floats sort like their bits. Negative ones do not, but two
    corners above the screen may change places, as no edge between them is drawn. NaN comes last.
    """
    key = xy.view(torch.int64).squeeze(-1)
    low, high = torch.minimum(key[0], key[1]), torch.maximum(key[0], key[1])
    top, middle, bottom = torch.minimum(low, key[2]), torch.minimum(high, key[2]), torch.maximum(high, key[2])
    middle = torch.maximum(low, middle)
    x, y = torch.stack((top, middle, bottom)).view(torch.float32).view(*key.shape, 2).unbind(-1)
    return x.contiguous(), y.contiguous()


def _depth_planes(corners: Corners) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Slopes of 1/z along x and y, its value at the centre of pixel (0, 0), and twice the signed area, (T,) each."""
    d1, d2 = corners.xy[1] - corners.xy[0], corners.xy[2] - corners.xy[0]
    (x1, y1), (x2, y2) = d1.unbind(-1), d2.unbind(-1)
    w1, w2 = corners.w[1] - corners.w[0], corners.w[2] - corners.w[0]
    area = x1 * y2 - x2 * y1
    scale = area.reciprocal().masked_fill_(area.abs() < _FLAT, 0.0)
    across = (w1 * y2 - w2 * y1).mul_(scale)
    down = (w2 * x1 - w1 * x2).mul_(scale)
    value = corners.w[0] - across * (corners.x[0] - 0.5) - down * (corners.y[0] - 0.5)
    return across, down, value, area


def _expand(counts: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """List owner 0 counts[0] times, then owner 1 counts[1] times, and so on.

    A running sum over marks: a third of the time of repeat_interleave on a CPU.

    Args:
        counts: (M,) int32.

    Returns:
        owner (N,) int32; offset (M,) int32 of each owner's first item; N; and how many items the first half of the
        owners have.
    """
    if counts.numel() == 0:
        return counts, counts, 0, 0
    ends = counts.cumsum(0, dtype=torch.int32)
    total, half = int(ends[-1]), int(ends[ends.shape[0] // 2 - 1])
    offset = ends - counts
    marks = torch.zeros(total + 1, dtype=torch.int32, device=counts.device)
    marks.scatter_add_(0, offset[1:].to(torch.int64), torch.ones_like(offset[1:]))
    return marks[:total].cumsum(0, dtype=torch.int32), offset, total, half


def _bounds(row: Tensor, ends: Tensor, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rectangle around everything drawn: a crop usually saves a third of the pixels. On CUDA asking costs more."""
    if row.is_cuda:
        return (0, size[0]), (0, size[1])
    if row.numel() == 0:
        return (0, 0), (0, 0)
    return (int(row.min()), int(row.max()) + 1), (int(ends[0].min()), int(ends[1].max()))
