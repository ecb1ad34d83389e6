"""Converts live IMDHistoWorkspaces to Spectrum and back; Mantid is imported only by the functions that need it.

Mantid returns views of memory that is freed with the workspace, so arrays are copied at once; it accepts float64 arrays
and Python numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..core.run import Fact, Lattice, Run
from ..core.spectrum import Axis, Spectrum, frozen, measured_bins, summed, without_events
from ..errors import InputError, OutputError
from ..io.facts import (
    as_fact,
    facts_of_logs,
    instrument_name,
    logs_of_run,
    merged,
    own_logs,
    with_chopper_of_title,
    with_oriented,
)
from ..io.geometry import sample_of
from ..io.history import last_is_normalised, names_of_history
from ..io.units import spectrum_in_our_units
from ..io.writer import stored_arrays

#: Names of the six lattice parameters, of Lattice and of Mantid's OrientedLattice.
_CELL = ("a", "b", "c", "alpha", "beta", "gamma")
#: Sizes of Mantid's Sample, mm.
_SIZES = ("Width", "Height", "Thickness")


def read_workspace(workspace) -> Spectrum:
    """The spectrum in an IMDHistoWorkspace; it shares no memory with the workspace.

    Mantid gives no access to the mask, but masked bins are NaN and therefore not valid here.

    Parameters
    ----------
    workspace : mantid.api.IMDHistoWorkspace

    Raises
    ------
    InputError
        If it is another kind of workspace, or an axis is not suitable for a spectrum.
    """
    _require_histogram(workspace)
    arrays = {
        "signal": copied_array(workspace.getSignalArray()),
        "variance": copied_array(workspace.getErrorSquaredArray()),
        "num_events": copied_array(workspace.getNumEventsArray()),
    }
    return _spectrum(workspace, arrays)


def read_outline(workspace) -> Spectrum:
    """The spectrum in an IMDHistoWorkspace without its intensities, for checks before the arrays are copied.

    Axes, run and `valid` are those of `read_workspace`. Signal and variance are 0 in every bin and take no memory.

    Parameters
    ----------
    workspace : mantid.api.IMDHistoWorkspace

    Raises
    ------
    InputError
        As `read_workspace`.
    """
    _require_histogram(workspace)
    signal, variance = workspace.getSignalArray(), workspace.getErrorSquaredArray()
    shown = int(workspace.displayNormalization())
    valid = measured_bins(signal, variance)
    if not _is_normalised(workspace):
        valid &= ~without_events(signal, variance, workspace.getNumEventsArray(), shown)
    nothing = np.broadcast_to(frozen(np.zeros(())), valid.shape)
    return _spectrum(workspace, {"signal": nothing, "variance": nothing, "valid": frozen(valid)})


def _require_histogram(workspace) -> None:
    if not hasattr(workspace, "getErrorSquaredArray"):
        kind = workspace.id() if hasattr(workspace, "id") else type(workspace).__name__
        raise InputError(
            f"{_name(workspace)!r} is a {kind}, expected an MDHistoWorkspace",
            "bin events first (BinMD or MDNorm), and give the members of a group one by one",
        )


def _spectrum(workspace, arrays: dict[str, np.ndarray]) -> Spectrum:
    """A spectrum of these arrays with everything else from the workspace."""
    from mantid.kernel import config

    run, title = run_of_workspace(workspace)
    spectrum = Spectrum(
        **arrays,
        axes=axes_of(workspace),
        run=run,
        title=workspace.getTitle() or title,
        coordinate_system=int(workspace.getSpecialCoordinateSystem()),
        visual_normalization=int(workspace.displayNormalization()),
        q_convention=config["Q.convention"] or "Inelastic",
        normalised=_is_normalised(workspace),
    )
    return spectrum_in_our_units(spectrum)


def _is_normalised(workspace) -> bool:
    """Whether MDNorm made the workspace, by its history."""
    return last_is_normalised(map(names_of_history, workspace.getHistory().getAlgorithmHistories()))


def _name(workspace) -> str:
    return workspace.name() if hasattr(workspace, "name") else str(workspace)


def copied_array(view: np.ndarray) -> np.ndarray:
    """A read-only copy of an array that Mantid owns."""
    return frozen(np.array(view, dtype=np.float64, order="C"))


def axes_of(workspace) -> tuple[Axis, ...]:
    """The dimensions of a workspace, dimension 0 first, in its own units."""
    return tuple(_axis(workspace.getDimension(i)) for i in range(workspace.getNumDims()))


def _axis(dimension) -> Axis:
    return Axis(
        name=dimension.name,
        edges=[dimension.getX(i) for i in range(dimension.getNBoundaries())],
        unit=str(dimension.getUnits()),
        frame=dimension.getMDFrame().name(),
        id=dimension.getDimensionId(),
    )


def run_of_workspace(workspace) -> tuple[Run, str]:
    """Facts and run title from the ExperimentInfos of a workspace: the same as from its file written by SaveMD.

    Returns
    -------
    Run
    str
        The title of the run, '' if there is none.
    """
    infos = [workspace.getExperimentInfo(i) for i in range(workspace.getNumExperimentInfo())]
    titles = ((_log_text(info.run(), "run_title") or "").strip() for info in infos)
    run = merged([_facts_of_info(info, f"experiment{number}") for number, info in enumerate(infos)])
    title = next(filter(None, titles), "")
    return with_chopper_of_title(run, title), title


def _facts_of_info(info, where: str) -> tuple[dict[str, Fact], tuple[str, ...]]:
    run = info.run()
    spelled = {name.lower(): name for name in run.keys()}
    name = instrument_name(info.getInstrument().getName())
    facts, notes = facts_of_logs(spelled, lambda log, fact: _log_value(run, log, fact), where, name)
    if name:
        facts["instrument"] = Fact(name, f"instrument of {where}")
    sample = info.sample()
    if "sample" not in facts:
        sizes = (getattr(sample, f"get{name}")() for name in _SIZES)
        found, how, more = sample_of(_shape_xml(sample), sample.getGeometryFlag(), *sizes)
        notes = (*notes, *(f"{how} of {where}: {note}" for note in more))
        facts |= {} if found is None else {"sample": Fact(found, f"{how} of {where}")}
    if sample.hasOrientedLattice():
        cell = sample.getOrientedLattice()
        lattice = Lattice(*(float(getattr(cell, n)()) for n in _CELL), ub=np.array(cell.getUB(), dtype=float))
        facts = with_oriented(facts, lattice, where)
    return facts, notes


def _shape_xml(sample) -> str:
    """Mantid's XML of the sample's shape; '' where this Mantid does not give it to Python."""
    shape = sample.getShape()
    return shape.getShapeXML() if hasattr(shape, "getShapeXML") else ""


def _log_value(run, name: str, fact: str):
    log = run.getProperty(name)
    values = np.asarray(log.value)
    return as_fact(fact, values, log.units) if values.size else (None, "")


def _log_text(run, name: str) -> str | None:
    value = np.asarray(run.getProperty(name).value) if run.hasProperty(name) else np.array(())
    return str(value.reshape(-1)[0]) if value.size else None


def to_workspace(spectrum: Spectrum, template=None):
    """A workspace with the data of a spectrum; it is not in the data service.

    Parameters
    ----------
    spectrum : Spectrum
    template : mantid.api.IMDHistoWorkspace, optional
        The workspace is a clone of it with new signal and error-squared arrays, so that everything else is kept:
        dimensions, frames, numbers of events, mask, logs, UB, display normalisation, title, history; a log says what
        resolution the spectrum has, if its run does. Without a template a new workspace is created, with the facts of
        the run in its logs.

    Raises
    ------
    OutputError
        If the template has a different shape.
    """
    if template is None:
        workspace = _created(spectrum)
    else:
        workspace = run_child("CloneMDWorkspace", InputWorkspace=template)
        _set_facts(workspace, spectrum)
    set_arrays(workspace, spectrum)
    return workspace


def _set_facts(workspace, spectrum: Spectrum) -> None:
    """The logs of the resolution that the spectrum has and of a lattice or a sample that was given, in the first
    ExperimentInfo, where facts are read first."""
    texts = own_logs(spectrum.run)
    if not any(texts.values()):
        return
    if not workspace.getNumExperimentInfo():
        workspace.addExperimentInfo(_experiment(spectrum.run, spectrum.title))
        return
    logs = workspace.getExperimentInfo(0).mutableRun()
    for name, value in texts.items():
        if value is not None:
            logs.addProperty(name, value, True)


def to_workspace_like(spectrum: Spectrum, workspace, events: np.ndarray):
    """A clone of a workspace with an intensity in it that is not a sum over events.

    Parameters
    ----------
    spectrum : Spectrum
        The intensity that Mantid is to show.
    workspace : mantid.api.IMDHistoWorkspace
        If it shows signal over events, the intensity is multiplied by its events.
    events : ndarray, shape of `spectrum`
        Those of the workspace.

    Raises
    ------
    OutputError
        If the shapes differ.
    """
    return to_workspace(summed(spectrum.replace(num_events=events)), template=workspace)


def to_group(spectra: dict[str, Spectrum], template):
    """A WorkspaceGroup of clones of a workspace; the clones are in the data service, and the group is not.

    Parameters
    ----------
    spectra : dict of str to Spectrum
        Name of each workspace -> its signal, errors and title.
    template : mantid.api.IMDHistoWorkspace

    Raises
    ------
    OutputError
        If the template has a different shape.
    """
    from mantid.api import mtd

    for name, spectrum in spectra.items():
        workspace = to_workspace(spectrum, template=template)
        workspace.setTitle(spectrum.title)
        mtd.addOrReplace(name, workspace)
    return run_child("GroupWorkspaces", InputWorkspaces=list(spectra))


def to_table(columns: Sequence[tuple], rows: Iterable[Sequence]):
    """A TableWorkspace; it is not in the data service.

    Parameters
    ----------
    columns : sequence of tuple
        Kind, name and, if wanted, number of the plot type of each: ``("double", "Value", 2)``.
    rows : iterable of sequence
        One value for each column.
    """
    table = run_child("CreateEmptyTableWorkspace")
    for column in columns:
        table.addColumn(*column)
    for row in rows:
        table.addRow(list(row))
    return table


def set_arrays(workspace, spectrum: Spectrum) -> None:
    """Set signal and error-squared of a workspace from a spectrum; invalid bins become NaN.

    Raises
    ------
    OutputError
        If the shapes differ.
    """
    shape = tuple(workspace.getDimension(i).getNBins() for i in range(workspace.getNumDims()))
    if spectrum.shape != shape:
        raise OutputError(
            f"a spectrum of {spectrum.shape} bins was given for the workspace {_name(workspace)!r} of {shape} bins",
            "give a workspace with the dimensions of the spectrum",
        )
    arrays = stored_arrays(spectrum)
    workspace.setSignalArray(arrays["signal"])
    workspace.setErrorSquaredArray(arrays["errors_squared"])


def run_child(name: str, **properties):
    """Run a Mantid algorithm outside the data service and return its output workspace, if it has one."""
    from mantid.api import AlgorithmManager

    algorithm = AlgorithmManager.createUnmanaged(name)
    algorithm.initialize()
    algorithm.setChild(True)
    algorithm.setLogging(False)
    algorithm.setRethrows(True)
    for key, value in properties.items():
        algorithm.setProperty(key, value)
    if not algorithm.existsProperty("OutputWorkspace"):
        algorithm.execute()
        return None
    algorithm.setPropertyValue("OutputWorkspace", "_")
    algorithm.execute()
    return algorithm.getProperty("OutputWorkspace").value


def _created(spectrum: Spectrum):
    from mantid.api import MDNormalization

    workspace = run_child(
        "CreateMDHistoWorkspace",
        SignalInput=spectrum.signal.ravel("F"),
        ErrorInput=np.sqrt(spectrum.variance).ravel("F"),
        NumberOfEvents=spectrum.num_events.ravel("F"),
        Dimensionality=spectrum.ndim,
        Extents=[float(x) for a in spectrum.axes for x in a.outside[0][[0, -1]]],
        NumberOfBins=[len(a) for a in spectrum.axes],
        Names=[a.name for a in spectrum.axes],
        Units=[a.outside[1] for a in spectrum.axes],
        Frames=[a.frame for a in spectrum.axes],
    )
    workspace.setTitle(spectrum.title)
    # without the history of the data, Mantid would divide a normalised signal by its events
    shown = 0 if spectrum.normalised else spectrum.visual_normalization
    workspace.setDisplayNormalization(MDNormalization.values[shown])
    if spectrum.run.facts:
        workspace.addExperimentInfo(_experiment(spectrum.run, spectrum.title))
    return workspace


def _experiment(run: Run, title: str):
    """An ExperimentInfo: Python cannot create one directly, but a Workspace2D is also an ExperimentInfo."""
    carrier = run_child("CreateWorkspace", DataX=[0.0, 1.0], DataY=[0.0])
    for name, value in logs_of_run(run, title).items():
        carrier.mutableRun().addProperty(name, value, True)
    lattice = run.value("lattice")
    if lattice is not None:
        ub = lattice.b_matrix() if lattice.ub is None else lattice.ub
        run_child("SetUB", Workspace=carrier, UB=[float(x) for x in np.asarray(ub).ravel()])
    return carrier
