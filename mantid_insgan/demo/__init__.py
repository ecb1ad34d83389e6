"""The demo: the main job on simulated data made by `make_data`."""

from __future__ import annotations

from pathlib import Path

from ..core.options import ApplyOptions

DATA = Path(__file__).parent / "data"

#: name of the demo file -> (direction, name of the result)
JOBS = {
    "measured.nxs": ("remove-resolution", "resolution_removed.nxs"),
    "calculated.nxs": ("add-resolution", "resolution_added.nxs"),
}


def run_demo(output: Path, *, device: str = "auto", progress=None) -> dict[str, Path]:
    """Copy the demo data to `output`, apply the bundled models in both directions, draw the results, and report on one.

    Parameters
    ----------
    output : Path
        A folder, created if necessary; results of an earlier demo are replaced.
    device : {'auto', 'cpu', 'cuda'}
    progress : callable, optional
        Called with the fraction done, 0 to 1.

    Returns
    -------
    dict of str to Path
        The files that were written.

    Raises
    ------
    OutputError
        If `output` cannot be created or written.
    """
    import shutil

    from ..errors import OutputError
    from ..io import read_spectrum
    from ..report.comparison import plot_comparison
    from ..report.evidence import evidence_of_files
    from ..report.page import write_report
    from ..translate.job import apply_to_file

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {output} cannot be made ({error.strerror})", "give another --output") from error
    written, notes = {}, []
    for done, (name, (direction, result)) in enumerate(JOBS.items()):
        shutil.copyfile(DATA / name, output / name)
        share = None if progress is None else lambda s, d=done: progress((d + s) / len(JOBS))
        options = ApplyOptions(direction=direction, device=device)
        report = apply_to_file(output / name, output / result, options, overwrite=True, progress=share)
        written |= {f"input, {direction}": output / name, f"result, {direction}": output / result}
        notes.append(_say(direction, report.quality.summary()))
    panels = {
        "as measured": "measured.nxs",
        "resolution removed": "resolution_removed.nxs",
        "as calculated": "calculated.nxs",
        "resolution added": "resolution_added.nxs",
    }
    picture = output / "demo.png"
    spectra = {title: read_spectrum(output / name).squeeze() for title, name in panels.items()}
    plot_comparison(spectra, picture, cut=(1.7, 1.8), notes=notes)  # at the zone boundary, where the band is flat
    page = output / "report.html"
    measured = [output / name for name in ("measured.nxs", "resolution_removed.nxs")]
    write_report(evidence_of_files(*measured, device=device), page, overwrite=True)
    return written | {"picture": picture, "report, remove-resolution": page}


def _say(direction: str, summary: dict) -> str:
    parts = [f"{direction}: total intensity out / in {summary['flux_ratio']:.3f}"]
    if summary["reduced_chi_squared_of_reconvolution"] is not None:
        parts.append(f"convolved again, chi-squared per bin {summary['reduced_chi_squared_of_reconvolution']:.2f}")
    return ", ".join(parts)
