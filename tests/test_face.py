"""`import mantid_insgan`: light, and with the functions of the main job."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import mantid_insgan
from mantid_insgan.errors import InsganError

ROOT = Path(__file__).resolve().parents[1]


def test_the_import_loads_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import mantid_insgan; "
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['mantid_insgan']"


def test_every_name_is_there_and_told():
    for name in mantid_insgan.__all__:
        assert getattr(mantid_insgan, name) is not None
        assert name in dir(mantid_insgan)
    with pytest.raises(AttributeError, match="has no attribute 'aply'"):
        mantid_insgan.aply  # noqa: B018


def test_no_subpackage_hides_a_function():
    """A subpackage of the name of a function would take its place once it is imported."""
    subpackages = {module.name for module in pkgutil.iter_modules(mantid_insgan.__path__)}
    assert not subpackages & set(mantid_insgan.__all__)
    for name in sorted(subpackages - {"__main__", "mantid"}):
        importlib.import_module(f"mantid_insgan.{name}")
    for name in ("read", "write", "apply", "simulate"):
        assert callable(getattr(mantid_insgan, name)), name


def test_an_option_that_is_not_there_is_named_with_the_nearest():
    spectrum = mantid_insgan.read(ROOT / "mantid_insgan" / "demo" / "data" / "measured.nxs")
    with pytest.raises(InsganError, match="'instrumnt'.*instrument"):
        mantid_insgan.apply(spectrum, instrumnt="MAPS")


def test_simulate_is_the_model_through_the_resolution():
    from mantid_insgan.convolve import convolve

    assert mantid_insgan.simulate is convolve
