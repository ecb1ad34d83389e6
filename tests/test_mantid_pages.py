"""The pages on Mantid: tables and drawings are those of the declarations, and the examples run."""

import re
import xml.etree.ElementTree as ElementTree
from importlib import util
from pathlib import Path

import pytest

pytestmark = pytest.mark.mantid

DOCS = Path(__file__).resolve().parents[1] / "docs"
RENEW = "run python docs/make_algorithms.py"


@pytest.fixture(scope="module")
def maker():
    """The script that makes tables and drawings."""
    spec = util.spec_from_file_location("make_algorithms", DOCS / "make_algorithms.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_algorithm_has_a_page_with_mantids_headings(maker):
    assert "ApplyResolutionGAN" in maker.names()
    for name in maker.names():
        text = maker.page(name).read_text(encoding="utf-8")
        headings = re.findall(r"^##? (.*)$", text, re.MULTILINE)
        assert headings[0] == f"{name} v1"
        places = [headings.index(h) for h in ("Summary", "Properties", "Description", "Usage", "References")]
        assert places == sorted(places)


def test_tables_and_drawings_are_those_of_the_declarations(maker):
    for name in maker.names():
        text = maker.page(name).read_text(encoding="utf-8")
        assert maker.renewed(text, name) == text, RENEW
        assert maker.picture(name).read_text(encoding="utf-8") == maker.drawing(name), RENEW


def test_the_drawing_shows_what_the_dialog_shows(maker):
    root = ElementTree.fromstring(maker.drawing("ApplyResolutionGAN"))
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    tooltips = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title")][1:]
    shown = [p for p in maker.properties("ApplyResolutionGAN") if p.name in texts]
    assert {"InputWorkspace", "ModelFile", "IncidentEnergy", "OutOfDomain", "OutputQuality"} <= {p.name for p in shown}
    assert "FluxRatio" not in texts, "Mantid's dialog leaves out outputs that are no workspaces"
    assert tooltips == [p.documentation for p in shown]
    assert {"Model", "Measurement", "Calculation", "Run", "Cancel", "Browse"} <= set(texts)
    assert "ModelFile: can be filled while Model is empty." in texts, "when the dialog lets a property be filled"
    page = maker.page("TrainResolutionGAN").read_text(encoding="utf-8")
    assert "- ChopperPackage: shown while Pairs is empty and Instrument is not HYSPEC." in page


@pytest.mark.parametrize(
    "page",
    [
        "algorithms/ApplyResolutionGAN.md",
        pytest.param("algorithms/TrainResolutionGAN.md", marks=pytest.mark.slow),  # it exports a model
        "algorithms/PrepareSpinWFit.md",
        "algorithms/SimulateSpinWModel.md",
        pytest.param("algorithms/FitSpinWModel.md", marks=pytest.mark.slow),
        "mantid.md",
    ],
)
def test_the_examples_run(page, mantid_script):
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    outputs = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    said = mantid_script("\n".join(blocks))
    place = 0
    for output in outputs:
        place = said.index(output.strip(), place) + len(output.strip())


def test_every_drawing_and_page_that_is_named_is_there():
    for page in (DOCS / "mantid.md", *(DOCS / "algorithms").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+\.(?:md|svg))", page.read_text(encoding="utf-8")):
            assert (page.parent / target).is_file(), f"{page.name} names {target}"
