"""The fit's benchmark reports what it says it does."""

from __future__ import annotations

import pytest
import torch
from fitting_head import smooth_head

from facezoo.errors import InputError
from facezoo.fitting.bench import bench_fit


@pytest.mark.parametrize("batch", [1, 16])
def test_rows_hold_times_and_residuals(batch: int):
    before = torch.get_num_threads()
    report = bench_fit(subsets=(60,), batch=batch, threads=1, repeats=1, head=smooth_head())
    assert torch.get_num_threads() == before
    assert report["unknowns"] == 8 + 5 + 3 + 6
    (row,) = report["rows"]
    assert row["points"] == 60 and row["converged"] == 1.0 and 0 < row["ms"] < 10_000
    assert row["warm_iterations"] < row["iterations"]
    # two coordinates of one pixel noise; the fit lies nearer to the truth than the points do
    assert row["error_px"] < row["rms_px"] < 2**0.5


def test_counts_must_be_positive():
    with pytest.raises(InputError, match="at least 1"):
        bench_fit(batch=0, head=smooth_head())
