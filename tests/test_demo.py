"""The demo data are what their script makes."""

import sys

import numpy as np
import pytest

from mantid_insgan.demo import DATA, JOBS, make_data
from mantid_insgan.io import read_nexus


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with the demo data, made anew."""
    pytest.importorskip("pyspinw")
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_data", "--output", str(folder)])
        make_data.main()
    return folder


@pytest.mark.parametrize("name", JOBS)
def test_demo_data_are_reproducible(made, name):
    shipped, again = read_nexus(DATA / name), read_nexus(made / name)
    assert again.axes == shipped.axes
    np.testing.assert_array_equal(again.valid, shipped.valid)
    np.testing.assert_array_equal(again.num_events, shipped.num_events)
    scale = np.abs(shipped.signal[shipped.valid]).max()
    np.testing.assert_allclose(again.signal, shipped.signal, rtol=1e-6, atol=1e-9 * scale)
    np.testing.assert_allclose(again.variance, shipped.variance, rtol=1e-6, atol=1e-9 * scale**2)
    for fact in ("instrument", "ei", "chopper", "frequency", "temperature"):
        assert again.run.value(fact) == shipped.run.value(fact) == make_data.RUN.value(fact)


@pytest.mark.parametrize("name", JOBS)
def test_demo_data_tell_all_that_apply_needs(name):
    spectrum = read_nexus(DATA / name)
    for fact in ("instrument", "ei", "chopper", "frequency", "lattice"):
        assert getattr(spectrum.run, fact) is not None
    assert spectrum.shape == (96, 1, 1, 100)
    assert spectrum.valid.all() == (name == "calculated.nxs")


def test_another_seed_gives_other_counts():
    calculated = read_nexus(DATA / "calculated.nxs")
    one, same, other = (make_data.measure(calculated, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.signal, same.signal)
    np.testing.assert_array_equal(one.valid, other.valid)
    assert not np.array_equal(one.signal[one.valid], other.signal[one.valid])
    # counts of the exposure: whole numbers
    counts = one.signal[one.valid] ** 2 / one.variance[one.valid]
    np.testing.assert_allclose(counts, one.num_events[one.valid], rtol=1e-9, atol=1e-9)
