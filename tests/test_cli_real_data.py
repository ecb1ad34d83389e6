"""The command line on real measurements and on files that Mantid wrote."""

import json
import signal
import sys
from io import StringIO

import numpy as np
import pytest

from mantid_insgan.cli import main as cli
from mantid_insgan.core.options import DIRECTIONS
from mantid_insgan.core.spectrum import Axis, Spectrum
from mantid_insgan.io import read_nexus, read_spectrum, write_nexus

FILES = {
    "mantid/mdhisto_2d_expinfo.nxs": ("log Ei of experiment0", 100.5),
    "mantid/mdhisto_2d_nan.nxs": None,
    "mantid/mdhisto_3d.nxs": None,
    "mantid/mdhisto_3d_binmd_integrated.nxs": None,
    "mantid/mdhisto_3d_masked.nxs": None,
    "mantid/mdhisto_4d.nxs": None,
    "mantid/mdhisto_slice_maps.nxs": ("log Ei of experiment0", 100.0),
    "mantid/mdhisto_volume_maps_4d.nxs": ("log Ei of experiment0", 100.0),
    "excerpt/bi2fe4o9-merlin/MER40874_Ei62.00meV_Rings.nxspe": ("NXSPE_info/fixed_energy", 62.1),
    "data/mdhisto/1Dcut_sym_0p00T_K.nxs": None,
    "data/al-mari/aluminium_Ei60.nxspe": ("log Ei of mantid_workspace_1", 59.4),
    "data/bi2fe4o9-merlin/MER40874_Ei25.00meV_Rings.nxspe": ("NXSPE_info/fixed_energy", 25.2),
    "data/bi2fe4o9-merlin/MER40874_Ei38.00meV_Rings.nxspe": ("NXSPE_info/fixed_energy", 37.6),
    "data/bi2fe4o9-merlin/MER40874_Ei62.00meV_Rings.nxspe": ("NXSPE_info/fixed_energy", 62.1),
    "data/bi2fe4o9-merlin/MER40874_Ei120.00meV_Rings.nxspe": ("NXSPE_info/fixed_energy", 121.3),
}

#: Row and column of tiles in the mosaic of PCSMO: Ei 70 meV, slices from 0.16, 0.34 and 0.64 Ei, 0.06 Ei wide.
TILES = [(3, 1), (3, 4), (3, 9)]

#: source -> facts that its file does not tell
APPLIED = {
    "excerpt of a powder": ["--instrument", "MERLIN", "--chopper", "G", "--frequency", "600"],
    "powder": ["--instrument", "MERLIN", "--chopper", "G", "--frequency", "600"],
    **{
        f"tile {row} {column}": ["--instrument", "MAPS-2000", "--chopper", "S", "--ei", "70", "--frequency", "250"]
        + ["--lattice", "5.408,5.4599,9.633"]
        for row, column in TILES
    },
    # The file names neither Ei nor the crystal: a setting whose elastic line is as wide as that of the file (0.028 meV
    # FWHM), and a hexagonal cell as its axes have it.
    "cut": ["--ei", "1.55", "--chopper", "Intermediate", "--frequency", "180", "--lattice", "5.3,5.3,7,90,90,120"],
}


def run(*words) -> str:
    """Standard output of the command, which has to end well."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        out = StringIO()
        patch.setattr(sys, "argv", ["insgan", *map(str, words)])
        patch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    for number, handler in before.items():
        signal.signal(number, handler)
    assert ended.value.code in (None, 0)
    return out.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_inspect_tells_what_a_file_holds(real, name):
    path = real(name)
    sheet = json.loads(run("inspect", path, "--json"))
    text = run("inspect", path)
    spectrum = read_spectrum(path)
    assert [(a["name"], a["unit"], a["bins"]) for a in sheet["axes"]] == [
        (a.name, a.unit, len(a)) for a in spectrum.axes
    ]
    for i, axis in enumerate(spectrum.axes):
        assert f"  axis {i}: {axis.name:12s} {len(axis):5d} bins of " in text and f" {axis.unit} (" in text
    assert sheet["valid_fraction"] == pytest.approx(spectrum.valid.mean())
    assert f"  valid: {spectrum.valid.sum()} of {spectrum.valid.size} bins ({spectrum.valid.mean():.1%})" in text
    if FILES[name] is None:
        assert sheet["run"]["ei"] is None and "  ei: not known" in text and "ei" in sheet["missing_run_facts"]
    else:
        source, ei = FILES[name]
        assert sheet["run"]["ei"]["source"] == source and sheet["run"]["ei"]["value"] == pytest.approx(ei, abs=0.06)
        assert f"({source})" in text and "ei" not in sheet["missing_run_facts"]
    if "al-mari" in name:  # its title names the chopper, and its logs have all the rest
        assert sheet["missing_for_apply"] is None and "  for apply: nothing is missing" in text
        return
    assert "chopper" in sheet["missing_run_facts"]  # no other file of these has it
    assert f"  for apply: {sheet['missing_for_apply']}" in text and "is not known" in sheet["missing_for_apply"]
    if len(sheet["missing_run_facts"]) > 1:
        assert f"all missing options: {', '.join('--' + n for n in sheet['missing_run_facts'])}" in text


def pcsmo_tile(folder, row: int, column: int) -> Spectrum:
    """One constant-energy slice of the published mosaic: 40 x 40 bins of (h, k), h descending in the picture.

    Counts have no errors there; those of Poisson counts stand in for them.
    """
    with np.load(folder / "tiles.npz") as cut:
        number = cut["tiles"].tolist().index([row, column])
        mosaic, mask = cut["measured"][number].astype(float), cut["masked"][number]
    assert mask.shape == mosaic.shape == (40, 40)
    signal, missing = mosaic[::-1, :, None, None], mask[::-1, :, None, None]
    ei = (25, 35, 50, 70, 100, 140)[row]
    edges = np.linspace(-40 / 39, 40 / 39, 41)
    axes = (
        Axis("[H,0,0]", edges, "r.l.u.", "HKL"),
        Axis("[0,K,0]", edges, "r.l.u.", "HKL"),
        Axis("[0,0,L]", np.array([-10.0, 10.0]), "r.l.u.", "HKL"),
        Axis("DeltaE", ei * (0.1 + 0.06 * np.array([column, column + 1])), "DeltaE"),
    )
    return Spectrum(signal, np.maximum(signal, 1.0), axes, valid=~missing)


def source_file(real, folder, source):
    merlin = "bi2fe4o9-merlin/MER40874_Ei62.00meV_Rings.nxspe"
    files = {
        "excerpt of a powder": f"excerpt/{merlin}",
        "powder": f"data/{merlin}",
        "cut": "data/mdhisto/1Dcut_sym_0p00T_K.nxs",
    }
    if source in files:
        return real(files[source])
    path = folder / "tile.nxs"
    write_nexus(pcsmo_tile(real("excerpt/pcsmo-maps"), *map(int, source.split()[1:])), path)
    return path


@pytest.fixture(scope="module", params=[(s, d) for s in APPLIED for d in DIRECTIONS], ids=" ".join)
def applied(request, real, tmp_path_factory):
    """Input, output and summary of ``insgan apply``."""
    source, direction = request.param
    folder = tmp_path_factory.mktemp("applied")
    path = source_file(real, folder, source)
    summary = json.loads(run("apply", path, folder / "out.nxs", "--direction", direction, "--json", *APPLIED[source]))
    return source, read_spectrum(path), read_nexus(folder / "out.nxs"), summary


def test_gaps_stay_gaps_and_all_else_is_finite(applied):
    _, before, after, _ = applied
    assert after.shape == before.shape and after.axes == before.axes
    np.testing.assert_array_equal(after.valid, before.valid)
    assert np.isnan(after.signal[~before.valid]).all()
    assert np.isfinite(after.signal[before.valid]).all()
    assert np.isfinite(after.variance[before.valid]).all() and (after.variance[before.valid] > 0).all()


def test_total_intensity_is_kept_within_5_percent(applied):
    _, before, after, summary = applied
    ratio = after.signal[before.valid].sum() / before.signal[before.valid].sum()
    assert summary["flux_ratio"] == pytest.approx(ratio)
    assert 0.95 < ratio < 1.05


def test_notes_say_how_the_axes_were_handled(applied):
    source, _, _, summary = applied
    notes = " ".join(summary["notes"])
    assert ("the energy is integrated" in notes) == source.startswith("tile")
    assert set(summary["run"]) == {"instrument", "ei", "chopper", "frequency"}
    if source.endswith("powder"):
        assert summary["run"]["ei"]["source"] == "NXSPE_info/fixed_energy"
    if source == "cut":
        assert summary["run"]["instrument"]["source"].startswith("folder in which the file was first saved")
