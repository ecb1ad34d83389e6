"""What the model that removes the resolution says of measurements, and of a composite of two models beside one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pcsmo_classifier import Removal, images
from results import column, table

from mantid_insgan.io import read_spectrum
from mantid_insgan.translate.job import apply
from mantid_insgan.translate.translator import Quality
from mantid_insgan.translate.trust import ALARM

#: The measurements that come with the project's papers.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
#: Measurements, and what their files do not say.
MEASUREMENTS = {
    **{
        f"bi2fe4o9-merlin/MER40874_Ei{ei}meV_Rings.nxspe": {"instrument": "MERLIN", "chopper": "G", "frequency": 600.0}
        for ei in ("120.00", "62.00", "38.00", "25.00")
    },
    "al-mari/aluminium_Ei60.nxspe": {"instrument": "MARI", "chopper": "G", "frequency": 200.0},
}
#: Folder of the maps of a manganite.
MAPS = "pcsmo-maps"


def measured(folder: Path) -> list[dict]:
    """Tables of the measurements in a folder: the spectra, and the maps."""
    return [measurements(folder), mosaics(folder / MAPS)]


def measurements(folder: Path) -> dict:
    """What the model that removes the resolution says of measurements: p-value, chi-squared, and what is unusual."""
    rows = []
    for name, setting in MEASUREMENTS.items():
        _, report = apply(read_spectrum(folder / name), direction="remove-resolution", device="cpu", **setting)
        quality = report.quality
        chi_squared = quality.chi_squared / quality.compared
        said = "; ".join(f"{reason} {where}" for reason, where in quality.reasons)
        place = quality.misfit.place()
        rows.append([name, quality.p_value, quality.outside, chi_squared, str(place or "spread"), said or "nothing"])
        print(rows[-1], flush=True)
    columns = [
        column("measurement"),
        column("p-value", "{:.3f}"),
        column("share of blocks beyond 1 % of like ones", "{:.2f}"),
        column("chi-squared per bin, convolved again", "{:.2f}"),
        column("where most of it is"),
        column("what is unusual, and where it is most"),
    ]
    return table("measured", columns, rows)


def mosaics(folder: Path) -> dict:
    """What it says of the maps of a manganite: as measured, by each of two models, and by both in one image."""
    removal, rows = Removal(), []
    for name, maps in images(folder).items():
        each = [quality for _, (_, quality) in removal.each(maps)]
        whole = Quality()
        for quality in each:
            whole.add(quality)
        alarms = np.mean([quality.p_value < ALARM for quality in each])
        rows.append([name, len(each), whole.p_value, float(alarms), whole.chi_squared / whole.compared])
    columns = [
        column("maps"),
        column("number"),
        column("p-value of all", "{:.3f}"),
        column("share of maps with an alarm", "{:.2f}"),
        column("chi-squared per bin, convolved again", "{:.2f}"),
    ]
    return table("measured maps", columns, rows)
