"""When the dialogs of the algorithms show a property and let it be filled, and what their help button opens."""

import re
from pathlib import Path

import pytest
from mantid.api import AlgorithmManager, mtd

import mantid_insgan.mantid  # noqa: F401  (registers)
from mantid_insgan.demo import DATA
from mantid_insgan.instruments import known_choppers, known_instruments
from mantid_insgan.mantid_support import properties
from mantid_insgan.mantid_support.properties import RULES

pytestmark = pytest.mark.mantid

ALGORITHMS = ("ApplyResolutionGAN", "FitSpinWModel", "SimulateSpinWModel", "TrainResolutionGAN")
SPECTRA = {"Simulation", "SimulationFiles", "Experiment", "ExperimentFiles"}
MEASUREMENT = {"Instrument", "ChopperPackage", "ChopperFrequency", "IncidentEnergy", "Lattice"}
MEASUREMENT |= {"WidthFactor", "Sample", "Mosaic"}


@pytest.fixture(autouse=True)
def empty_service():
    mtd.clear()
    yield
    mtd.clear()


def rules_of(prop) -> list:
    """What was set for a property; newer versions keep several."""
    found = prop.settings
    return [] if found is None else list(found) if isinstance(found, list | tuple) else [found]


def states(name, **values) -> tuple[set, set]:
    """Properties that are greyed out, and that are hidden, when others have these values."""
    algorithm = AlgorithmManager.create(name)
    for key, value in values.items():
        algorithm.setProperty(key, value)
    rules = {p.name: rules_of(p) for p in algorithm.getProperties()}
    grey = {n for n, found in rules.items() if not all(r.isEnabled(algorithm) for r in found)}
    return grey, {n for n, found in rules.items() if not all(r.isVisible(algorithm) for r in found)}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_empty_dialog_shows_all(name):
    assert states(name) == (set(), set())
    algorithm = AlgorithmManager.create(name)
    assert {p.name for p in algorithm.getProperties() if rules_of(p)} == set(RULES[name])
    others = {n for rule in RULES[name].values() for n in (*rule.empty, *(n for n, _ in rule.unlike))}
    assert all(algorithm.existsProperty(n) for n in others)


@pytest.mark.parametrize(
    ("name", "values", "grey", "hidden"),
    [
        ("ApplyResolutionGAN", {"Model": "add-resolution-2d"}, {"ModelFile", "TargetSetting"}, set()),
        ("ApplyResolutionGAN", {"ModelFile": "my.onnx"}, {"Model", "TargetSetting"}, set()),
        ("ApplyResolutionGAN", {"Direction": "AddResolution"}, {"Sharpen", "TargetSetting"}, set()),
        ("ApplyResolutionGAN", {"TargetSetting": "Ei=38"}, {"Sharpen"}, set()),
        ("ApplyResolutionGAN", {"Instrument": "HYSPEC"}, set(), {"ChopperPackage"}),
        ("ApplyResolutionGAN", {"Instrument": "MAPS"}, set(), set()),
        ("FitSpinWModel", {"Instrument": "HYSPEC"}, set(), {"ChopperPackage"}),
        ("SimulateSpinWModel", {"Instrument": "HYSPEC"}, set(), {"ChopperPackage"}),
        ("TrainResolutionGAN", {"Instrument": "HYSPEC"}, set(), {"ChopperPackage"}),
        ("TrainResolutionGAN", {"SimulationFiles": str(DATA / "calculated.nxs")}, {"Pairs"}, set()),
        ("TrainResolutionGAN", {"ExperimentFiles": str(DATA / "measured.nxs")}, {"Pairs"}, set()),
        (
            "TrainResolutionGAN",
            {"Pairs": str(DATA)},
            SPECTRA | {"Paired", "SimulationConvolved"},
            MEASUREMENT | {"ValidationSimulation", "ValidationExperiment"},
        ),
    ],
)
def test_what_a_value_greys_out_and_hides(name, values, grey, hidden):
    assert states(name, **values) == (grey, hidden)


def test_an_instrument_of_one_chopper_package_needs_none():
    alone = {i for i in known_instruments() if len(known_choppers(i)) == 1}
    for name in ALGORITHMS:
        assert {value for _, value in RULES[name]["ChopperPackage"].unlike} == alone


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_help_button_opens_the_page_of_the_algorithm_where_there_is_one(name, monkeypatch):
    algorithm = AlgorithmManager.createUnmanaged(name)  # the proxy of create has none in older versions of Mantid
    assert re.match(r"https://\S+$", algorithm.helpURL())
    monkeypatch.setattr(properties, "DOCUMENTATION", "https://example.org/docs")
    assert algorithm.helpURL() == f"https://example.org/docs/algorithms/{name}.html"
    assert (Path(__file__).parents[1] / "docs" / "algorithms" / f"{name}.md").is_file()
