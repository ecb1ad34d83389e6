"""The comparison with finer measurements: scores by hand, and those of the data as measured."""

import measured
import numpy as np
import pytest


def test_a_scale_and_a_constant_leave_nothing():
    rng = np.random.default_rng(0)
    wanted = rng.random(40)
    left, noise = measured.score(3 * wanted - 1, wanted, np.full(40, 0.04))
    assert left == pytest.approx(0.0, abs=1e-12) and noise == pytest.approx(0.2 / wanted.std())
    off = rng.random(40)
    assert measured.score(off, wanted, np.zeros(40))[0] == pytest.approx(
        np.sqrt(1 - np.corrcoef(off, wanted)[0, 1] ** 2)
    )


def test_a_setting_is_chosen_on_the_other_pairs():
    row = lambda name, *scores: measured.Row(name, (0, 1), 1.0, None, None, list(scores), 0.0)  # noqa: E731
    rows = [row("a, 1", 0.1, 0.9), row("a, 2", 0.1, 0.9), row("b, 1", 0.5, 0.4)]
    assert [measured.chosen(rows, n) for n in range(3)] == [1, 1, 0]


@pytest.mark.parametrize(
    ("pair", "left", "noise"),
    [(0, (0.082, 0.281), (0.084, 0.076)), (1, (0.795, 0.452), (0.253, 0.110)), (2, (0.156, 0.140), (0.129, 0.107))],
)
def test_the_data_as_measured_differ_as_found_before(shared, pair, left, noise):
    folder = shared / "data" / "bi2fe4o9-merlin"
    coarse, fine, energies = measured.PAIRS[pair]
    spectra = measured.measured(coarse, folder), measured.measured(fine, folder)
    for momenta, *expected in zip(measured.AVERAGED, left, noise, strict=True):
        found = measured.score(*measured.spectra(*spectra, momenta, energies, averaged=True))
        assert found == pytest.approx(expected, rel=0.05)


def test_lines_of_other_repetitions_are_left_out(shared):
    spectrum = measured.measured("38.00", shared / "data" / "bi2fe4o9-merlin")
    centres = spectrum.axes[1].centers
    assert not spectrum.valid[:, np.abs(centres - 30) < 2].any()
    assert spectrum.valid[:, np.abs(centres - 26) < 1].any()
