"""The ablation's table, and a real run of it on toy shards."""

from __future__ import annotations

import json

import pytest
from synergynet_fakes import tiny_overrides, write_landmark_shards

from facezoo.evaluation.ablation import table
from facezoo.evaluation.synergy_ablation import VARIANTS, main


def test_table_has_means_spreads_and_dashes():
    results = {
        "whole": [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 2.0}],
        "without refinement": [{"a": 4.0}],
    }
    lines = table(results)
    assert lines[0] == "| variant | seeds | a | b |"
    assert lines[2] == "| whole | 2 | 2.00 ± 1.41 | 2.00 ± 0.00 |"
    assert lines[3] == "| without refinement | 1 | 4.00 | - |"


def test_wrong_arguments_say_what_is_missing(capsys):
    assert main(["root=x"]) == 2
    assert "out=FOLDER" in capsys.readouterr().err
    assert main(["root=x", "out=y", "minutes=soon"]) == 2


@pytest.mark.slow
def test_all_variants_train_and_are_measured(tmp_path):
    write_landmark_shards(tmp_path / "shards", 60)
    keep = [
        o
        for o in tiny_overrides(tmp_path / "shards", tmp_path)
        if not o.startswith(("data.root", "data=", "trainer.run"))
    ]
    out = tmp_path / "out"
    given = [f"root={tmp_path / 'shards'}", f"out={out}", "minutes=0.05", "seeds=0", "people=3", *keep]
    assert main(given) == 0
    results = json.loads((out / "table.json").read_text())["results"]
    assert set(results) == set(VARIANTS)
    assert "test people, ibug68_contour" not in results["without refinement"][0]
    for runs in results.values():
        assert runs[0]["test people, ibug68"] > 0
    config = json.loads((out / "without-reverse-path-0" / "export" / "config.json").read_text())["config"]
    assert config["refinement"] and not config["reverse"]
    assert (out / "table.md").read_text().count("\n") == 2 + len(VARIANTS)
