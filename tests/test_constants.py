"""Physical constants: their values, and that they stand in one place."""

import re
from pathlib import Path

import pytest

from mantid_insgan.core import constants

ROOT = Path(__file__).resolve().parents[1]
#: FWHM per sigma, hbar^2 / 2m, hbar / m and k_B, however many digits are written.
LITERAL = re.compile(r"(?<![\d.])(?:2\.35(?:[0-9]\d*)?|2\.072\d*|629\.6\d*|0?\.0861[67]\d*)(?![\d.])")


def test_values_are_those_of_the_literature():
    """E lambda^2 = 81.80421 meV Angstrom^2 and v lambda = 3956.034 m/s Angstrom, as neutron tables give them."""
    pi = 3.141592653589793
    assert constants.HBAR2_OVER_2M * (2 * pi) ** 2 == pytest.approx(81.804210, rel=1e-7)
    assert constants.HBAR_OVER_M * 2 * pi == pytest.approx(3956.0340, rel=1e-7)
    assert constants.BOLTZMANN == pytest.approx(0.08617333262, rel=1e-10)
    assert constants.FWHM_PER_SIGMA == pytest.approx(2.3548200450309493, rel=1e-15)


def test_no_other_source_writes_a_constant_as_a_number():
    folders = ("mantid_insgan", "benchmarks", "docs", "plugins")
    sources = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 50
    found = {
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources
        if path != Path(constants.__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if LITERAL.search(line)
    }
    assert not found


@pytest.mark.parametrize("text", ["x / 2.355", "2.3548200450309493", "2.0721248", "0.08617333262", ".0861733", "2.35"])
def test_the_search_finds_a_constant(text):
    assert LITERAL.search(text)


@pytest.mark.parametrize("text", ["12.355", "2.25", "0.0862", "2.36", "2.0751"])
def test_the_search_leaves_other_numbers(text):
    assert not LITERAL.search(text)
