"""Figures: what is drawn, that it reaches the file, and what is said when it cannot."""

import sys

import numpy as np
import pytest

from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.errors import DeviceError, InputError, OutputError
from mantid_insgan.io import read_spectrum

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'mantid-insgan[report]'")

from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.image import imread

from mantid_insgan.report import (
    axis_label,
    comparison_figure,
    plot_comparison,
    plot_spectrum,
    spectrum_figure,
)
from mantid_insgan.report.training import draw_example, draw_losses

H = Axis("[H,0,0]", np.linspace(-1, 1, 31), "r.l.u.", "HKL")
K = Axis("[0,K,0]", np.linspace(-1, 1, 13), "r.l.u.", "HKL")
L = Axis("[0,0,L]", np.linspace(-4, 4, 5), "r.l.u.", "HKL")
E = Axis("DeltaE", np.linspace(-5, 35, 41), "DeltaE")
ONE = Axis("[0,0,L]", [-0.5, 0.5], "r.l.u.", "HKL")
GREY = 0.78


def magnon(*axes: Axis, elastic: float = 0.0, fwhm: float = 3.0, seed: int = 0) -> Spectrum:
    """A dispersion along every momentum axis with counting noise, on these axes, fully measured."""
    grid = np.meshgrid(*(a.centers for a in axes), indexing="ij")
    momenta = [g for g, a in zip(grid, axes, strict=True) if not a.is_energy]
    energy = next((g for g, a in zip(grid, axes, strict=True) if a.is_energy), 15.0)
    centre = 5 + 20 * np.mean([np.sin(np.pi * q) ** 2 for q in momenta], axis=0) if momenta else 12.0
    sigma = fwhm / 2.3548
    peak = 30 / fwhm * np.exp(-((energy - centre) ** 2) / (2 * sigma**2))
    intensity = 0.2 + peak + elastic * np.exp(-(np.asarray(energy) ** 2) / 2)
    counts = np.random.default_rng(seed).poisson(np.broadcast_to(intensity, [len(a) for a in axes]) * 20)
    return Spectrum(counts / 20, np.maximum(counts, 1) / 400, axes)


def with_gap(spectrum: Spectrum, gap: tuple) -> Spectrum:
    signal, variance = spectrum.signal.copy(), spectrum.variance.copy()
    signal[gap], variance[gap] = np.nan, np.nan
    return spectrum.replace(signal=signal, variance=variance)


def maps(figure):
    return [a for a in figure.axes if a.images]


def curves(figure):
    return [a for a in figure.axes if not a.images and a.get_label() != "<colorbar>"]


def colour_bars(figure):
    return [a for a in figure.axes if a.get_label() == "<colorbar>"]


def pixels(path) -> np.ndarray:
    return imread(path)[..., :3]


def share_of_grey(path) -> float:
    return float((np.abs(pixels(path) - GREY) < 0.004).all(axis=-1).mean())


def all_text(figure) -> str:
    texts = [a.get_title(where) for a in figure.axes for where in ("left", "center")]
    return "\n".join([*texts, figure.get_suptitle(), figure.get_supxlabel()])


@pytest.mark.parametrize(
    ("axes", "n_maps", "n_curves"),
    [((E,), 0, 1), ((H, E), 1, 0), ((E, H), 1, 0), ((H, K), 1, 0), ((H, K, E), 3, 3), ((H, K, L, E), 3, 4)],
)
def test_every_number_of_dimensions_is_drawn(tmp_path, axes, n_maps, n_curves):
    spectrum = magnon(*axes)
    figure = spectrum_figure(spectrum)
    assert (len(maps(figure)), len(curves(figure))) == (n_maps, n_curves)
    plot_spectrum(spectrum, tmp_path / "figure.png")
    picture = pixels(tmp_path / "figure.png")
    assert picture.shape[0] > 600 and picture.shape[1] >= 1200
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert share_of_grey(tmp_path / "figure.png") < 0.002
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("axes", [(H, E), (E, H), (ONE, H, E), (E, ONE, H)])
def test_the_energy_is_upward_and_integrated_axes_are_left_away(axes):
    spectrum = magnon(*axes)
    (axes_of_map,) = maps(spectrum_figure(spectrum))
    assert axes_of_map.get_xlabel() == "[H,0,0] (r.l.u.)"
    assert axes_of_map.get_ylabel() == "Energy transfer (meV)"
    assert axes_of_map.images[0].get_extent() == pytest.approx([-1, 1, -5, 35])
    drawn = axes_of_map.images[0].get_array()
    flat = spectrum.squeeze()
    assert np.array_equal(drawn, flat.signal if flat.axes[0].is_energy else flat.signal.T)


@pytest.mark.parametrize(
    ("axis", "label"),
    [
        (E, "Energy transfer (meV)"),
        (Axis("|Q|", [0, 1, 2], "Angstrom^-1"), "|Q| (Å⁻¹)"),
        (Axis("|Q|", [0, 1, 2], "1/Angstrom"), "|Q| (Å⁻¹)"),
        (Axis("Q_sample_x", [0, 1, 2], "A^-1", "QSample"), "Q_sample_x (Å⁻¹)"),
        (Axis("[H,0,0]", [0, 1, 2], "in 1.162 A^-1", "HKL"), "[H,0,0] (r.l.u.)"),
        (Axis("temperature", [0, 1, 2], "K"), "temperature (K)"),
        (Axis("$x$", [0, 1, 2], ""), r"\$x\$"),
    ],
)
def test_labels_carry_the_unit(axis, label):
    assert axis_label(axis) == label


def test_bins_that_were_not_measured_are_grey_and_not_zero(tmp_path):
    spectrum = with_gap(magnon(H, E), (slice(10, 20), slice(0, 20)))
    assert "not measured" in all_text(spectrum_figure(spectrum))
    assert maps(spectrum_figure(spectrum))[0].images[0].get_array().mask[:20, 10:20].all()
    plot_spectrum(spectrum, tmp_path / "gap.png")
    # a sixth of the map, which fills about six tenths of the picture
    assert 0.05 < share_of_grey(tmp_path / "gap.png") < 0.17


def test_gaps_of_a_curve_are_grey_and_break_its_line():
    figure = spectrum_figure(with_gap(magnon(E), (slice(10, 20),)))
    (axes,) = curves(figure)
    (span,) = axes.patches
    assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx((E.edges[10], E.edges[20]))
    line = axes.lines[0].get_ydata()
    assert np.array_equal(np.flatnonzero(np.isnan(line)), np.arange(10, 20))


@pytest.mark.parametrize("axes", [(E,), (H, E), (H, K, E)])
def test_a_spectrum_without_any_valid_bin_says_so(tmp_path, axes):
    spectrum = magnon(*axes).replace(valid=np.zeros([len(a) for a in axes], bool))
    figure = spectrum_figure(spectrum)
    assert all(a.texts[0].get_text() == "no valid bin" for a in maps(figure) + curves(figure))
    plot_spectrum(spectrum, tmp_path / "empty.png")
    assert share_of_grey(tmp_path / "empty.png") > 0.25


def test_cuts_go_through_bins_that_were_measured_and_say_where():
    spectrum = with_gap(magnon(H, K, E), (slice(None), slice(5, 12), slice(None)))
    figure = spectrum_figure(spectrum)
    assert [(a.get_xlabel(), a.get_ylabel()) for a in maps(figure)] == [
        ("[H,0,0] (r.l.u.)", "Energy transfer (meV)"),
        ("[0,K,0] (r.l.u.)", "Energy transfer (meV)"),
        ("[H,0,0] (r.l.u.)", "[0,K,0] (r.l.u.)"),
    ]
    titles = [a.get_title() for a in maps(figure)]
    assert titles == ["at [0,K,0] = −0.25", "at [H,0,0] = 0.0333", "at Energy transfer = 15.5 meV"]
    assert np.array_equal(maps(figure)[0].images[0].get_array(), spectrum.signal[:, 4].T)


def test_the_means_are_over_valid_bins_with_their_standard_error():
    spectrum = with_gap(magnon(H, K, E), (slice(0, 15), slice(None), 7))
    energy = curves(spectrum_figure(spectrum))[2]
    assert energy.get_xlabel() == "Energy transfer (meV)"
    drawn = energy.containers[0]
    good = spectrum.signal[15:, :, 7]
    assert drawn.lines[0].get_ydata()[7] == pytest.approx(good.mean())
    (low, high) = drawn.lines[2][0].get_segments()[7][:, 1]
    assert (high - low) / 2 == pytest.approx(np.sqrt(spectrum.variance[15:, :, 7].sum()) / good.size)


def test_an_elastic_line_that_dwarfs_the_rest_gets_an_asinh_scale():
    plain, dwarfing = (spectrum_figure(magnon(H, E, elastic=height)) for height in (0.0, 2000.0))
    assert type(maps(plain)[0].images[0].norm) is Normalize
    assert [a.get_ylabel() for a in colour_bars(plain)] == ["Intensity"]
    norm = maps(dwarfing)[0].images[0].norm
    assert isinstance(norm, AsinhNorm)
    assert norm.vmax < 500
    assert norm(10.0) > 0.3, "the magnon, 10 high, must be seen beside an elastic line of 2000"
    assert [a.get_ylabel() for a in colour_bars(dwarfing)] == ["Intensity (asinh scale)"]


def test_an_elastic_line_in_a_curve_gets_an_asinh_scale():
    assert curves(spectrum_figure(magnon(E, elastic=0.0)))[0].get_yscale() == "linear"
    (axes,) = curves(spectrum_figure(magnon(E, elastic=5000.0)))
    assert axes.get_yscale() == "asinh"
    assert axes.get_ylabel() == "Intensity (asinh scale)"
    assert axes.get_ylim()[1] > 4000


def test_among_the_means_the_one_on_an_asinh_scale_says_so():
    labels = [a.get_ylabel() for a in curves(spectrum_figure(magnon(H, K, E, elastic=5000.0)))]
    assert labels == ["Mean intensity", "", "Mean intensity (asinh scale)"]


def test_one_hot_bin_does_not_darken_the_map():
    spectrum = magnon(H, E)
    signal = spectrum.signal.copy()
    signal[3, 30] = 1e9
    norm = maps(spectrum_figure(spectrum.replace(signal=signal)))[0].images[0].norm
    assert 5 < norm.vmax < 15
    assert norm.vmin == 0


@pytest.mark.parametrize("value", [0.0, -3.0, 7.0])
def test_constant_data_have_a_colour_scale(value):
    spectrum = Spectrum(np.full((30, 40), value), np.ones((30, 40)), (H, E))
    norm = maps(spectrum_figure(spectrum))[0].images[0].norm
    assert norm.vmin <= value <= norm.vmax and norm.vmin < norm.vmax


@pytest.fixture
def four() -> dict[str, Spectrum]:
    measured = with_gap(magnon(H, E, fwhm=6), (slice(2, 6), slice(30, 40)))
    return {
        "as measured": measured,
        "resolution removed": with_gap(magnon(H, E, fwhm=2), (slice(2, 6), slice(30, 40))),
        "as calculated": magnon(H, E, fwhm=2, seed=1),
        "resolution added": magnon(H, E, fwhm=6, seed=1),
    }


def test_a_comparison_has_one_scale_and_a_cut_for_each_panel(tmp_path, four):
    figure = comparison_figure(four, title="Cost in $", notes=["Simulated."])
    assert [a.get_title() for a in maps(figure)] == list(four)
    assert len({id(a.images[0].norm) for a in maps(figure)}) == 1
    assert len(colour_bars(figure)) == 1
    assert len(curves(figure)) == 4
    assert {a.get_xlabel() for a in curves(figure)} == {"Energy transfer (meV)"}
    assert len({a.get_ylim() for a in curves(figure)}) == 1
    assert figure.get_suptitle() == r"Cost in \$"
    assert "Simulated." in figure.get_supxlabel()
    plot_comparison(four, tmp_path / "four.png")
    assert pixels(tmp_path / "four.png").shape[1] == 1800
    assert share_of_grey(tmp_path / "four.png") > 0.005


def test_the_cut_is_the_mean_over_the_range_between_the_dashed_lines(four):
    figure = comparison_figure(four, cut=(0.4, 0.6))
    inside = (H.centers >= 0.4) & (H.centers <= 0.6)
    dashed = [line.get_xdata()[0] for line in maps(figure)[0].lines]
    assert dashed == pytest.approx([H.edges[:-1][inside][0], H.edges[1:][inside][-1]])
    for axes, spectrum in zip(curves(figure), four.values(), strict=True):
        assert axes.lines[-1].get_ydata() == pytest.approx(spectrum.signal[inside].mean(axis=0))
    assert curves(figure)[0].get_title("left") == "[H,0,0] from 0.4 to 0.6"


def test_the_cut_goes_through_the_brightest_place_and_not_the_elastic_line():
    bright = np.where(np.arange(30) == 22, 5.0, 1.0)[:, np.newaxis]
    plain = magnon(H, E, elastic=0)
    elastic = np.where(np.arange(30) == 4, 1e4, 100.0)[:, np.newaxis] * np.exp(-(E.centers**2) / 2)
    figure = comparison_figure({"a": plain.replace(signal=plain.signal * bright + elastic)})
    low, high = (line.get_xdata()[0] for line in maps(figure)[0].lines)
    assert low <= H.centers[22] <= high
    assert curves(figure)[0].texts[0].get_text() == "higher counts cut off"
    assert curves(figure)[0].get_ylim()[1] < 100


@pytest.mark.parametrize("axes", [(E,), (H, K), (H, K, L, E)])
def test_comparisons_of_any_number_of_dimensions(tmp_path, axes):
    panels = {name: magnon(*axes, fwhm=fwhm) for name, fwhm in (("narrow", 2), ("wide", 5), ("wider", 8))}
    figure = comparison_figure(panels, columns=2)
    assert len(maps(figure)) == (0 if len(axes) == 1 else 3)
    assert len(curves(figure)) == 3
    plot_comparison(panels, tmp_path / "figure.png", columns=2)
    assert len(np.unique(pixels(tmp_path / "figure.png").reshape(-1, 3), axis=0)) > 20


def test_spectra_of_other_axes_are_not_compared():
    with pytest.raises(
        InputError, match=r"'b' has the axes \[H,0,0\] .*, but 'a' has DeltaE \(40 bins, -5 to 35 DeltaE\)"
    ):
        comparison_figure({"a": magnon(E), "b": magnon(H, E)})
    with pytest.raises(InputError, match="there is no spectrum to compare"):
        comparison_figure({})


def test_a_cut_outside_the_axis_is_refused(four):
    with pytest.raises(InputError, match=r"no bin of '\[H,0,0\]' has its centre in the cut from 3 to 4.*from -1 to 1"):
        comparison_figure(four, cut=(3, 4))


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("PDF", b"%PDF"), ("svg", b"<?xml")])
def test_the_suffix_chooses_the_format(tmp_path, suffix, start):
    plot_spectrum(magnon(H, E), tmp_path / f"figure.{suffix}")
    assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize(("name", "found"), [("figure.gif", "the suffix '.gif'"), ("figure", "no suffix")])
def test_an_unknown_suffix_names_those_that_are_known(tmp_path, name, found):
    message = f"has {found}, so its format is not known.*use a name that ends in .png, .pdf or .svg"
    with pytest.raises(OutputError, match=message):
        plot_spectrum(magnon(E), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_existing_figure_stays_where_it_may_not_be_replaced(tmp_path, four):
    output = tmp_path / "figure.png"
    output.write_text("mine")
    with pytest.raises(OutputError, match=r"figure\.png already exists"):
        plot_spectrum(magnon(E), output, overwrite=False)
    with pytest.raises(OutputError, match=r"figure\.png already exists"):
        plot_comparison(four, output, overwrite=False)
    assert output.read_text() == "mine"
    plot_spectrum(magnon(E), output)
    assert pixels(output).size


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match="the output folder .*nowhere does not exist"):
        plot_spectrum(magnon(E), tmp_path / "nowhere" / "figure.png")


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(
        OutputError, match=r"writing the figure .*figure\.png failed: .*No space left.*no incomplete file is left"
    ):
        plot_spectrum(magnon(E), tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DeviceError, match=r"matplotlib is not installed.*pip install 'mantid-insgan\[report\]'"):
        plot_spectrum(magnon(E), tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_pyplot_is_not_touched():
    spectrum_figure(magnon(H, E))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize(
    "name",
    [
        "excerpt/bi2fe4o9-merlin/MER40874_Ei62.00meV_Rings.nxspe",
        "data/mdhisto/1Dcut_sym_0p00T_K.nxs",
        "mantid/mdhisto_2d_nan.nxs",
        "mantid/mdhisto_3d_binmd_integrated.nxs",
        "mantid/mdhisto_volume_maps_4d.nxs",
    ],
)
def test_real_files_are_drawn(real, tmp_path, name):
    plot_spectrum(read_spectrum(real(name)), tmp_path / "figure.png")
    assert len(np.unique(pixels(tmp_path / "figure.png").reshape(-1, 3), axis=0)) > 20


def test_the_magnon_of_a_measured_powder_is_seen_beside_its_elastic_line(excerpts):
    spectrum = read_spectrum(excerpts / "bi2fe4o9-merlin/MER40874_Ei62.00meV_Rings.nxspe")
    (axes,) = maps(spectrum_figure(spectrum))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("|Q| (Å⁻¹)", "Energy transfer (meV)")
    norm = axes.images[0].norm
    assert isinstance(norm, AsinhNorm)
    mean = {
        name: part.signal[part.valid].mean()
        for name, part in {
            "magnon": spectrum.slice(**{"|Q|": (1.2, 1.5), "DeltaE": (18, 20)}),
            "beside": spectrum.slice(**{"|Q|": (4, 5), "DeltaE": (30, 34)}),
        }.items()
    }
    assert norm(mean["magnon"]) - norm(mean["beside"]) > 0.15


# -- of a training


def test_losses_are_drawn_for_every_term(tmp_path):
    draw_losses([{"step": i, "nrmse": 1 / i, "flux": 2 / i} for i in range(1, 60)], tmp_path / "losses.png")
    draw_losses([], tmp_path / "nothing.png")
    drawn, empty = (len(np.unique(pixels(tmp_path / f"{n}.png").reshape(-1, 3), axis=0)) for n in ("losses", "nothing"))
    assert drawn > empty + 20


@pytest.mark.parametrize("shape", [(30,), (12, 30), (8, 12, 30)])
def test_an_example_is_drawn_with_its_gaps_grey(tmp_path, shape):
    values = np.random.default_rng(0).random(shape)
    valid = np.ones(shape, bool)
    valid[..., :10] = False
    draw_example({"before": values, "after": 2 * values}, valid, tmp_path / "example.png")
    picture = pixels(tmp_path / "example.png")
    grey = np.isclose(picture, GREY, atol=0.01).all(-1).mean()
    assert grey > 0.1 if len(shape) > 1 else grey < 0.01
