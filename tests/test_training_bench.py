"""``facezoo bench train`` times a real run's steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dense_fakes import write_toy_shards
from training_toys import toy_overrides

from facezoo.cli import main


def test_bench_train_says_where_the_time_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy_shards(tmp_path / "data", count=40, per_shard=40)
    before = sorted(tmp_path.rglob("*"))
    assert (
        main(["bench", "train", "--json", "steps=3", *toy_overrides(tmp_path / "data", tmp_path / "run")])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert sorted(tmp_path.rglob("*")) == before  # not even a run's folder is left
    step = found["step_ms"]
    assert list(step) == ["load", "augment", "forward", "loss", "backward", "update", "total"]
    assert all(value > 0 for value in step.values())
    assert step["total"] == pytest.approx(sum(v for k, v in step.items() if k != "total"), abs=0.05)
    assert found["images_per_second"] == pytest.approx(8000 / step["total"], rel=0.01)
    assert found["device_busy"] == pytest.approx(1 - step["load"] / step["total"], abs=0.002)
    assert found["worker_ms"]["read"] > 0 and found["workers"] == 0 and found["device"] == "cpu"


def test_bench_train_refuses_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", "steps=0"]) == 2 and "steps" in capsys.readouterr().err
    assert main(["bench", "train", "recipe=dence"]) == 2 and "'dense'" in capsys.readouterr().err
    assert main(["bench", "fit", "steps=3"]) == 2 and "bench train" in capsys.readouterr().err
