"""The algorithms of Mantid that the project and its tests use."""

import numpy as np

from . import _files
from .api import (
    AlgorithmFactory,
    AnalysisDataService,
    FileAction,
    FileProperty,
    IMDEventWorkspaceProperty,
    IMDHistoWorkspaceProperty,
    ITableWorkspaceProperty,
    MatrixWorkspaceProperty,
    PythonAlgorithm,
    WorkspaceGroupProperty,
    WorkspaceProperty,
)
from .api._workspaces import EventBody, GroupBody, HistoBody, MatrixBody, TableBody, handle
from .geometry import IMDDimension, OrientedLattice
from .kernel import (
    Direction,
    FloatArrayProperty,
    IntArrayProperty,
    IntBoundedValidator,
    StringArrayProperty,
    StringListValidator,
)

IN, OUT, INOUT = Direction.Input, Direction.Output, Direction.InOut


class CreateMDHistoWorkspace(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(FloatArrayProperty("SignalInput", [], direction=IN))
        self.declareProperty(FloatArrayProperty("ErrorInput", [], direction=IN))
        self.declareProperty(FloatArrayProperty("NumberOfEvents", [], direction=IN))
        self.declareProperty("Dimensionality", -1, IntBoundedValidator(lower=1, upper=9), "Dimensions", IN)
        self.declareProperty(FloatArrayProperty("Extents", [], direction=IN))
        self.declareProperty(IntArrayProperty("NumberOfBins", [], direction=IN))
        self.declareProperty(StringArrayProperty("Names", [], direction=IN))
        self.declareProperty(StringArrayProperty("Units", [], direction=IN))
        self.declareProperty(IMDHistoWorkspaceProperty("OutputWorkspace", "", OUT))
        self.declareProperty(StringArrayProperty("Frames", [], direction=IN))

    def PyExec(self):
        value = {p.name: p.value for p in self.getProperties() if p.direction == IN}
        n = value["Dimensionality"]
        for name in ("Names", "Units", "NumberOfBins"):
            if len(value[name]) != n:
                raise ValueError(f"You must specify as many {name.lower()} as there are dimensions.")
        frames = value["Frames"] or ["General Frame"] * n
        extents = value["Extents"].reshape(n, 2)
        rows = zip(value["Names"], value["Units"], frames, extents, value["NumberOfBins"], strict=True)
        body = HistoBody([IMDDimension(name, unit, frame, *ends, bins) for name, unit, frame, ends, bins in rows])
        events = value["NumberOfEvents"] if len(value["NumberOfEvents"]) else np.ones(body.signal.size)
        for target, flat in (
            (body.signal, value["SignalInput"]),
            (body.error_squared, value["ErrorInput"] ** 2),
            (body.num_events, events),
        ):
            target[...] = flat.reshape(target.shape, order="F")
        self.setProperty("OutputWorkspace", handle(body))


class CloneMDWorkspace(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(IMDHistoWorkspaceProperty("InputWorkspace", "", IN))
        self.declareProperty(IMDHistoWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        self.setProperty("OutputWorkspace", handle(self.getProperty("InputWorkspace")._body.copy()))


class LoadMD(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(FileProperty("Filename", "", FileAction.Load, [".nxs"]))
        self.declareProperty(IMDHistoWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        self.setProperty("OutputWorkspace", handle(_files.load(self.getProperty("Filename").value)))


class SaveMD(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(IMDHistoWorkspaceProperty("InputWorkspace", "", IN))
        self.declareProperty(FileProperty("Filename", "", FileAction.Save, [".nxs"]))

    def PyExec(self):
        _files.save(self.getProperty("InputWorkspace")._body, self.getProperty("Filename").value)


class MaskMD(PythonAlgorithm):
    """Masks one box: as many extents as there are dimensions."""

    def PyInit(self):
        self.declareProperty(IMDHistoWorkspaceProperty("Workspace", "", INOUT))
        self.declareProperty(StringArrayProperty("Dimensions", [], direction=IN))
        self.declareProperty(FloatArrayProperty("Extents", [], direction=IN))

    def PyExec(self):
        body = self.getProperty("Workspace")._body
        inside = np.ones(body.signal.shape, bool)
        ends = self.getProperty("Extents").value.reshape(-1, 2)
        names = [d.name for d in body.dimensions]
        for name, (low, high) in zip(self.getProperty("Dimensions").value, ends, strict=True):
            axis = names.index(name)
            d = body.dimensions[axis]
            centers = np.array([d.getX(i) + d.getBinWidth() / 2 for i in range(d.getNBins())])
            shape = [-1 if i == axis else 1 for i in range(len(names))]
            inside &= ((centers >= low) & (centers <= high)).reshape(shape)
        body.mask[inside] = 1
        body.signal[inside] = body.error_squared[inside] = np.nan


class SetUB(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(WorkspaceProperty("Workspace", "", INOUT))
        self.declareProperty(FloatArrayProperty("UB", [], direction=IN))

    def PyExec(self):
        body = self.getProperty("Workspace")._body
        for info in body.infos if isinstance(body, HistoBody) else [body.info]:
            info.lattice = OrientedLattice()
            info.lattice.setUB(self.getProperty("UB").value)


class GroupWorkspaces(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(StringArrayProperty("InputWorkspaces", [], direction=IN))
        self.declareProperty(WorkspaceGroupProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        group = GroupBody()
        for name in self.getProperty("InputWorkspaces").value:
            body = AnalysisDataService._body(name)
            if body is None:
                raise ValueError(f"Workspace {name} does not exist")
            group.members.append(body)
        self.setProperty("OutputWorkspace", handle(group))


class UnGroupWorkspace(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(WorkspaceGroupProperty("InputWorkspace", "", IN))

    def PyExec(self):
        AnalysisDataService.remove(self.getPropertyValue("InputWorkspace"))


class DeleteWorkspace(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(WorkspaceProperty("Workspace", "", IN))

    def checkGroups(self):
        return False

    def PyExec(self):
        AnalysisDataService.remove(self.getPropertyValue("Workspace"))


class RenameWorkspace(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(WorkspaceProperty("InputWorkspace", "", IN))
        self.declareProperty(WorkspaceProperty("OutputWorkspace", "", OUT))

    def checkGroups(self):
        return False

    def PyExec(self):
        body = self.getProperty("InputWorkspace")._body
        AnalysisDataService.remove(body.name)
        self.setProperty("OutputWorkspace", handle(body))


class CreateWorkspace(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(MatrixWorkspaceProperty("OutputWorkspace", "", OUT))
        for name in ("DataX", "DataY", "DataE"):
            self.declareProperty(FloatArrayProperty(name, [], direction=IN))
        self.declareProperty("NSpec", 1, IntBoundedValidator(lower=1), "Number of spectra", IN)
        self.declareProperty("UnitX", "")

    def PyExec(self):
        n = self.getProperty("NSpec").value
        x, y, e = (self.getProperty(f"Data{a}").value for a in "XYE")
        if y.size % n:
            raise ValueError("Length of DataY is not a multiple of NSpec")
        y = y.reshape(n, -1)
        x = x.reshape(n, -1) if x.size == n * (x.size // n) and x.size > y.shape[1] + 1 else np.tile(x, (n, 1))
        e = e.reshape(n, -1) if e.size else np.zeros_like(y)
        self.setProperty("OutputWorkspace", handle(MatrixBody(x, y, e)))


class LoadNXSPE(PythonAlgorithm):
    """Spectra of energy transfer, with the angles of their detectors."""

    def PyInit(self):
        self.declareProperty(FileProperty("Filename", "", FileAction.Load, [".nxspe"]))
        self.declareProperty(MatrixWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        self.setProperty("OutputWorkspace", handle(_files.load_nxspe(self.getProperty("Filename").value)))


class ConvertToMD(PythonAlgorithm):
    """Every bin of every spectrum becomes an event at its |Q| and energy; nothing else than that mode."""

    def PyInit(self):
        self.declareProperty(MatrixWorkspaceProperty("InputWorkspace", "", IN))
        self.declareProperty("QDimensions", "|Q|", StringListValidator(["|Q|"]), "", IN)
        self.declareProperty("dEAnalysisMode", "Direct", StringListValidator(["Direct"]), "", IN)
        self.declareProperty(IMDEventWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        body = self.getProperty("InputWorkspace")._body
        ei = body.info.logs["Ei"].value
        energy = np.broadcast_to((body.x[:, 1:] + body.x[:, :-1]) / 2, body.y.shape)
        kept = np.isfinite(body.y) & (body.y > -1e29) & (energy < ei)  # LoadNXSPE masks the others
        ki, kf = np.sqrt(ei / 2.072125), np.sqrt(np.maximum(ei - energy, 0.0) / 2.072125)
        q = np.sqrt(ki**2 + kf**2 - 2 * ki * kf * np.cos(np.radians(body.polar))[:, None])
        places = np.stack([q[kept], energy[kept]])
        names = (("|Q|", "Angstrom^-1", "|Q|"), ("DeltaE", "meV", "General Frame"))
        dimensions = [
            IMDDimension(name, unit, frame, x.min() - 1e-4, x.max() + 1e-4, 10)
            for (name, unit, frame), x in zip(names, places, strict=True)
        ]
        events = EventBody(dimensions, places, body.y[kept], body.e[kept] ** 2)
        events.infos = [body.info]
        self.setProperty("OutputWorkspace", handle(events))


class BinMD(PythonAlgorithm):
    """Sums of the events in each bin, along axes alone."""

    def PyInit(self):
        self.declareProperty(IMDEventWorkspaceProperty("InputWorkspace", "", IN))
        self.declareProperty("AxisAligned", True)
        for i in range(6):
            self.declareProperty(f"AlignedDim{i}", "")
        self.declareProperty(IMDHistoWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        body = self.getProperty("InputWorkspace")._body
        given = [self.getPropertyValue(f"AlignedDim{i}") for i in range(6)]
        wanted = [text.rsplit(",", 3) for text in given if text]
        known = {d.name: (i, d) for i, d in enumerate(body.dimensions)}
        made, indices = [], []
        for name, low, high, bins in wanted:
            if name not in known:
                raise RuntimeError(f"Dimension {name} was not found in the MDEventWorkspace")
            i, old = known[name]
            dimension = IMDDimension(name, old.getUnits(), old.getMDFrame().name(), float(low), float(high), int(bins))
            made.append(dimension)
            indices.append(np.floor((body.places[i] - dimension.getMinimum()) / dimension.getBinWidth()).astype(int))
        histogram = HistoBody(made)
        inside = np.all([(i >= 0) & (i < d.getNBins()) for i, d in zip(indices, made, strict=True)], axis=0)
        at = tuple(i[inside] for i in indices)
        for target, values in (
            (histogram.signal, body.signal),
            (histogram.error_squared, body.error_squared),
            (histogram.num_events, np.ones_like(body.signal)),
        ):
            target[...] = 0.0
            np.add.at(target, at, values[inside])
        histogram.infos = list(body.infos)
        self.setProperty("OutputWorkspace", handle(histogram))


class CreateEmptyTableWorkspace(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(ITableWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        self.setProperty("OutputWorkspace", handle(TableBody()))


for _found in list(globals().values()):
    if isinstance(_found, type) and issubclass(_found, PythonAlgorithm) and _found is not PythonAlgorithm:
        AlgorithmFactory.subscribe(_found)
