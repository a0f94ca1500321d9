"""Exported files compute what the network computes, at any batch size, and say all that is needed to use them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from finetune_fakes import untrained, write_data

import facezoo
from facezoo.cli import main
from facezoo.errors import AssetError, FacezooError, InputError, UnknownNameError
from facezoo.export import FORMATS, Exported, export_model, read_metadata, torch_file
from facezoo.export.metadata import describe
from facezoo.export.network import trace
from facezoo.export.write import compare
from facezoo.geometry.crop import CropSpec
from facezoo.hub import resolve, sha256_of
from facezoo.models.dense.module import DenseModel
from facezoo.models.dense.net import DenseOutput

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run's export, of a head whose licence is not the weights'."""
    data = write_data(tmp_path_factory.mktemp("data"), licence="CC-BY-NC-4.0")
    torch.manual_seed(5)
    path = untrained(data, tmp_path_factory.mktemp("runs") / "small" / "export")
    config = json.loads((path / "config.json").read_text())
    config["licences"] = {"code": "Apache-2.0", "weights": "CC-BY-4.0", "head": "CC-BY-NC-4.0"}
    config["lineage"] = {"base_model": "dense-1609.open-v2", "parents": []}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def torch_export(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_model(folder, tmp_path_factory.mktemp("torch"), format="torch")


@pytest.fixture(scope="module")
def onnx_export(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"{name} is missing: pip install 'facezoo[export]'")
    return export_model(folder, tmp_path_factory.mktemp("onnx"))


def images(model: DenseModel, count: int) -> torch.Tensor:
    return torch.rand(
        count, 3, model.crop.size, model.crop.size, generator=torch.Generator().manual_seed(count)
    )


def test_a_torch_file_computes_what_the_network_computes(folder: Path, torch_export: Exported) -> None:
    model = DenseModel.from_pretrained(folder)
    program = torch.export.load(torch_export.path).module()
    for count in (1, 4, 7):
        with torch.no_grad():
            expected, got = model(images(model, count))._asdict(), program(images(model, count))
        assert list(got) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(got[name], value, rtol=0, atol=1e-5)
            assert float(value.std()) > 0, name  # there is something to compare
    assert set(torch_export.errors) == {1, 3} and max(torch_export.errors.values()) < 1e-4


def test_an_onnx_file_computes_what_the_network_computes(folder: Path, onnx_export: Exported) -> None:
    import onnxruntime

    model = DenseModel.from_pretrained(folder)
    session = onnxruntime.InferenceSession(onnx_export.path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["images"]
    names = [o.name for o in session.get_outputs()]
    assert names == list(DenseOutput._fields) == list(onnx_export.metadata["outputs"])
    assert all(isinstance(t.shape[0], str) for t in (*session.get_inputs(), *session.get_outputs()))
    for count in (1, 4, 7):
        with torch.no_grad():
            expected = model(images(model, count))
        for value, got in zip(
            expected, session.run(names, {"images": images(model, count).numpy()}), strict=True
        ):
            torch.testing.assert_close(torch.from_numpy(got), value, rtol=0, atol=1e-4)


def test_both_formats_say_the_same_of_themselves(onnx_export: Exported, torch_export: Exported) -> None:
    assert read_metadata(onnx_export.path) == onnx_export.metadata
    assert read_metadata(torch_export.path) == torch_export.metadata == onnx_export.metadata


def test_the_metadata_suffice_to_make_inputs_and_read_outputs(folder: Path, torch_export: Exported) -> None:
    about, model = read_metadata(torch_export.path), DenseModel.from_pretrained(folder)
    assert about["inputs"]["images"]["shape"] == ["batch", 3, 64, 64]
    known = {k: v for k, v in about["preprocessing"].items() if k in model.crop.to_dict()}
    assert CropSpec.from_dict(known) == model.crop
    assert list(about["outputs"]) == list(DenseOutput._fields)
    with torch.no_grad():
        output = model(images(model, 3))
    for name, entry in about["outputs"].items():
        assert entry["shape"] == ["batch", *getattr(output, name).shape[1:]]
        assert entry["unit"] and entry["dtype"] == "float32", name
    assert about["outputs"]["contour68"]["meaning"] == "iBUG points whose jaw follows the visible contour."
    assert "(p + 0.5) * size" in about["outputs"]["landmarks68"]["unit"]
    assert about["model_id"] == "small" and torch_export.path.name == "small.pt2"
    assert about["weights_sha256"] == sha256_of(folder / "model.safetensors")


def test_licences_and_lineage_go_with_the_file(torch_export: Exported) -> None:
    about = torch_export.metadata
    terms = {"code": "Apache-2.0", "weights": "CC-BY-4.0", "head": "CC-BY-NC-4.0", "data": None}
    assert about["licences"] == terms and about["lineage"]["base_model"] == "dense-1609.open-v2"
    assert about["heads_inside"] == {}  # the dense network computes without a head


def test_a_head_that_the_network_computes_with_is_named_with_its_terms(folder: Path) -> None:
    model = DenseModel.from_pretrained(folder)
    model.add_module("space", facezoo.load_head(model.config.head))
    about = describe(model, resolve("dense-1609"))
    assert about["heads_inside"] == {"toy": "CC-BY-NC-4.0"} and about["licences"]["head"] == "CC-BY-NC-4.0"
    assert about["licences"]["weights"] == "CC0-1.0" and about["model_id"] == "dense-1609.open-v2"


def test_no_path_of_this_machine_is_in_a_file(
    folder: Path, onnx_export: Exported, torch_export: Exported
) -> None:
    with zipfile.ZipFile(torch_export.path) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    for part in (*contents, onnx_export.path.read_bytes()):
        for place in (Path(facezoo.__file__).parent, Path(torch.__file__).parent, folder.parent):
            assert str(place).encode() not in part


@pytest.mark.slow
def test_a_torch_file_runs_where_facezoo_is_not_installed(torch_export: Exported) -> None:
    code = (
        "import sys; sys.modules['facezoo'] = None\n"
        "import json, torch\n"
        "extra = {'facezoo.json': ''}\n"
        f"program = torch.export.load({str(torch_export.path)!r}, extra_files=extra)\n"
        "size = json.loads(extra['facezoo.json'])['inputs']['images']['shape'][2:]\n"
        "print(tuple(program.module()(torch.rand(5, 3, *size))['landmarks68'].shape))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
    assert done.stdout.strip() == "(5, 68, 2)", done.stderr


def test_a_file_of_other_weights_is_refused(folder: Path, torch_export: Exported) -> None:
    model, data = DenseModel.from_pretrained(folder), torch_export.path.read_bytes()
    compare(model, data, torch_file.run)
    with torch.no_grad():
        model.net.params.bias[0] += 10
    with pytest.raises(FacezooError, match=r"'identity' differs from the model's by .*nothing was written"):
        compare(model, data, torch_file.run)


def test_a_network_that_no_graph_can_express_is_refused(folder: Path) -> None:
    model = DenseModel.from_pretrained(folder)
    model.net.params.register_forward_hook(lambda module, given, out: out * float(out.sum()))
    with pytest.raises(FacezooError, match="cannot export this network") as error:
        trace(model)
    assert len(str(error.value).splitlines()) == 1


def test_what_cannot_be_done_is_said_before_any_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'onnx'"):
        export_model(folder, tmp_path, format="onx")
    with pytest.raises(InputError, match=r"ends in .onnx, which is not format 'torch'"):
        export_model(folder, tmp_path / "a.onnx", format="torch")
    with pytest.raises(InputError, match="opset=18"):
        export_model(folder, tmp_path / "a.pt2", opset=18)
    with pytest.raises(UnknownNameError, match="dense-1609"):
        export_model("dens-1609", tmp_path, format="torch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_named_with_the_extra(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(
        sys.modules, package, None
    )  # what Python itself does with a package that cannot be imported
    with pytest.raises(AssetError, match=rf"{package}.*pip install 'facezoo\[export\]'"):
        export_model(folder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="there is no file"):
        read_metadata(tmp_path / "a.onnx")
    (tmp_path / "a.pt2").write_bytes(b"no zip")
    with pytest.raises(AssetError, match=r"a.pt2 is no file that `facezoo export"):
        read_metadata(tmp_path / "a.pt2")
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(InputError, match=r"neither in .onnx nor in .pt2"):
        read_metadata(tmp_path / "a.txt")


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["export", str(folder), "--format", "torch", "-o", str(tmp_path), "--no-check", "--json"]) == 0
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["path"] == str(tmp_path / "small.pt2") and printed["errors"] == {}
    assert printed["metadata"] == read_metadata(tmp_path / "small.pt2")
    assert printed["size"] == (tmp_path / "small.pt2").stat().st_size
    assert main(["export", str(folder.parent), "--format", "torch", "-o", str(tmp_path)]) == 2
    assert "load" in capsys.readouterr().err  # a run: the message names its export


@pytest.mark.slow  # the embedded network is traced twice
@pytest.mark.parametrize("kind", list(FORMATS))
def test_the_embedded_model(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    for name in PACKAGES if kind == "onnx" else ():
        pytest.importorskip(name, reason=f"{name} is missing: pip install 'facezoo[export]'")
    assert main(["export", "dense-1609", "--format", kind, "-o", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "points (batch, 1609, 2)" in out and "weights CC0-1.0" in out and "batch 3" in out
    assert (tmp_path / f"dense-1609.open-v2{FORMATS[kind]}").is_file()
