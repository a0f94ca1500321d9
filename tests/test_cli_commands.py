"""The command line: files appear whole, errors are one line on stderr with exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predict_fakes import picture, toy_model

from facezoo import __version__
from facezoo.catalog import entries
from facezoo.cli import main
from facezoo.cli.bench_command import table
from facezoo.cli.doctor_command import examine
from facezoo.evaluation import bench


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("toy")
    toy_model(folder).save_pretrained(folder / "weights")
    return str(folder / "weights")


@pytest.fixture
def photo(tmp_path: Path) -> str:
    Image.fromarray(picture()).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """Run a command that must be refused and return its one line."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("facezoo: ")
    assert "Traceback" not in captured.err
    return lines[0]


def test_predict_writes_what_it_says(weights, photo, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    code = main(
        [
            "predict",
            photo,
            "-o",
            str(out),
            "--model",
            weights,
            "--boxes",
            "30,24,66,72;10,10,30,34",
            "--format",
            "glb,ply",
        ]
    )
    assert code == 0
    printed = capsys.readouterr().out
    assert "2 faces" in printed
    names = {path.name for path in out.iterdir()}
    assert names == {
        "photo.json",
        "photo_overlay.png",
        *(f"photo_{n}.{s}" for n in (0, 1) for s in ("glb", "ply")),
    }
    assert all(name in printed for name in names)


def test_predict_json_is_only_json(weights, photo, tmp_path, capsys) -> None:
    assert main(["predict", photo, "--model", weights, "--boxes", "30,24,66,72", "--json", "--no-fit"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["source"] == photo
    assert len(values["faces"]) == 1
    assert values["faces"][0]["fit"] is None
    assert list(tmp_path.iterdir()) == [Path(photo)]


def test_predict_takes_folders_and_boxes_from_a_file(weights, tmp_path, capsys) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.fromarray(picture()).save(folder / name)
    table = tmp_path / "boxes.json"
    table.write_text(json.dumps({"a.png": [[30, 24, 66, 72]], "b.jpg": []}))
    assert main(["predict", str(folder), "--model", weights, "--boxes", str(table), "--json"]) == 0
    assert [len(item["faces"]) for item in json.loads(capsys.readouterr().out)] == [1, 0]


def test_two_inputs_of_one_name_do_not_overwrite_each_other(weights, tmp_path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture()).save(tmp_path / folder / "a.png")
    inputs = [str(tmp_path / folder / "a.png") for folder in ("x", "y")]
    assert (
        main(
            [
                "predict",
                *inputs,
                "-o",
                str(tmp_path / "out"),
                "--model",
                weights,
                "--detector",
                "whole",
                "--no-fit",
            ]
        )
        == 0
    )
    assert {path.name for path in (tmp_path / "out").glob("*.json")} == {"a.json", "a-2.json"}


def test_a_bad_input_among_good_ones_is_told_and_the_rest_done(weights, photo, tmp_path, capsys) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 no")
    code = main(
        [
            "predict",
            str(tmp_path / "bad.jpg"),
            photo,
            "--model",
            weights,
            "--detector",
            "whole",
            "-o",
            str(tmp_path / "out"),
        ]
    )
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1
    assert "bad.jpg" in captured.err
    assert "photo.png: 1 face" in captured.out
    assert not list((tmp_path / "out").glob("bad*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nowhere.jpg"], "nowhere.jpg"),
        (["predict", "PHOTO", "--boxes", "500,500,600,600"], "photo.png"),
        (["predict", "PHOTO", "--boxes", "1,2,three,4"], "x0,y0,x1,y1"),
        (["predict", "PHOTO", "--boxes", "missing.json"], "missing.json"),
        (["predict", "PHOTO", "--detector", "cascad"], "Did you mean 'cascade'"),
        (["predict", "PHOTO", "--detector", "whole", "--format", "stl", "-o", "OUT"], "stl"),
        (["predict", "PHOTO", "--batch-size", "0"], "batch-size"),
        (["predict", "PHOTO", "--device", "tpu"], "tpu"),
        (["evaluate", "MODEL", "data=dlib", "root=."], "dlib_18"),
        (["evaluate", "MODEL", "data=aflw2000_9"], "root="),
        (["evaluate", "MODEL", "data=aflw2000_9", "root=OUT"], "landmarks.json"),
        (["evaluate", "MODEL", "date=aflw2000_9", "root=."], "Did you mean 'data'"),
        (["evaluate", "MODEL", "aflw2000_9"], "key=value"),
    ],
)
def test_what_cannot_be_done_is_one_line(weights, photo, tmp_path, capsys, arguments, message) -> None:
    places = {
        "PHOTO": photo,
        "OUT": str(tmp_path / "out"),
        "MODEL": weights,
        "root=OUT": f"root={tmp_path / 'out'}",
    }
    arguments = [places.get(argument, argument) for argument in arguments]
    if arguments[0] == "predict":
        arguments += ["--model", weights]
    assert message in refused(capsys, arguments)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_an_unknown_model_is_one_line_with_the_nearest(photo, capsys) -> None:
    assert "dense-1609" in refused(capsys, ["predict", photo, "--model", "dense-1690"])
    assert "dense-1609" in refused(capsys, ["info", "dens"])


def test_list_and_info_show_the_catalogue(capsys) -> None:
    assert main(["list"]) == 0
    assert "dense-1609.open-v2" in capsys.readouterr().out
    assert main(["list", "--json", "dense-*"]) == 0
    assert json.loads(capsys.readouterr().out) == ["dense-1609.open-v2"]
    assert main(["info", "dense-1609", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["licences"]["weights"] == "CC0-1.0"
    assert info["commercial"] is True
    assert main(["info", "dense-1609"]) == 0
    assert "CC0-1.0" in capsys.readouterr().out


def test_without_a_command_help_is_shown(capsys) -> None:
    assert main([]) == 0
    assert "predict" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert __version__ in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["predikt"])
    assert caught.value.code == 2


def test_doctor_sees_this_installation() -> None:
    findings, _ = examine()
    assert findings["packages"]["torch"] != "MISSING"
    assert "threads" in findings["device"]
    assert set(findings["weights"]) == {entry.id for entry in entries()}


def test_evaluate_measures_what_it_should(weights, tmp_path, capsys) -> None:
    """Labels that are the model's own answer, moved by 3 and 4 pixels, have an NME of 5 pixels over the box."""
    folder = tmp_path / "dlib_18"
    folder.mkdir()
    Image.fromarray(picture(200, 240)).save(folder / "a.png")
    boxes = [[60.0, 40.0, 140.0, 120.0]]
    from facezoo.models.load import load

    face = load(weights).predict(folder / "a.png", boxes=boxes, fit=False)[0]
    truth = (
        face.landmarks["ibug68_contour"].numpy() + np.array([3.0, 4.0]) - 0.5
    )  # the file counts pixels from 0
    (folder / "landmarks.json").write_text(json.dumps({"a.png": [{"pts68": truth.tolist()}]}))
    assert (
        main(
            ["evaluate", weights, "data=dlib_18", f"root={tmp_path}", f"out={tmp_path / 'report'}", "--json"]
        )
        == 0
    )
    summary = json.loads(capsys.readouterr().out)
    assert summary["faces"] == 1
    assert summary["missed"] == 0
    assert summary["landmarks"] == "ibug68_contour"
    assert summary["boxes"] == "true tight boxes"
    row = summary["nme_percent"]["original"]
    weighted = (
        17 * row["jaw"] + 10 * row["brow"] + 9 * row["nose"] + 12 * row["eye"] + 20 * row["mouth"]
    ) / 68
    assert row["mean"] == pytest.approx(weighted, abs=0.01)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "dlib_18_truth.json",
        "dlib_18_truth_original.png",
    }


def test_evaluate_counts_faces_the_detector_missed(weights, tmp_path, capsys) -> None:
    Image.fromarray(np.full((120, 120, 3), 128, np.uint8)).save(tmp_path / "a.png")
    points = (np.random.default_rng(0).random((68, 2)) * 60 + 20).tolist()
    (tmp_path / "landmarks.json").write_text(json.dumps({"a.png": [{"pts68": points}]}))
    assert (
        main(["evaluate", weights, "data=dlib_18", f"root={tmp_path}", "boxes=detector", f"out={tmp_path}"])
        == 0
    )
    assert "1 faces, 1 missed" in capsys.readouterr().out


def test_a_measurement_prints_as_a_table() -> None:
    lines = table(
        {
            "device": "cpu",
            "ms": {"load": 1.23456},
            "rows": [{"points": 202, "ms": 8.0}, {"points": 1609, "ms": 25.0}],
        }
    )
    assert lines[0] == "device  cpu"
    assert "1.235" in lines[2]
    assert [line.split() for line in lines[-3:]] == [["points", "ms"], ["202", "8"], ["1609", "25"]]


def test_bench_predict_times_every_stage(weights, capsys, monkeypatch) -> None:
    monkeypatch.setattr("facezoo.detect.AUTO", "whole")  # one face, whatever the detector thinks
    monkeypatch.setattr(bench, "_median", lambda call, network, repeats=1: (call(), 1.0)[1])
    assert main(["bench", "predict", "--model", weights, "--device", "cpu", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["faces"] == 1
    assert {"load model", "predict(path), everything"} <= set(result["ms"])


def test_the_demo_writes_an_overlay_a_mesh_and_numbers(weights, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(
        "facezoo.detect.AUTO", "whole"
    )  # untrained weights cannot tell a face from a false alarm
    assert main(["demo", "--model", weights, "-o", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"astronaut_overlay.png", "astronaut.json", "astronaut_0.glb"}
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
