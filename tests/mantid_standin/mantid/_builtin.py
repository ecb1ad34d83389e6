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
from .api._workspaces import EventBody, GroupBody, HistoBody, InfoBody, LogProperty, MatrixBody, TableBody, handle
from .geometry import IMDDimension, OrientedLattice
from .kernel import (
    Direction,
    FloatArrayProperty,
    FloatBoundedValidator,
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
        for name in "abc":
            self.declareProperty(name, 1.0, FloatBoundedValidator(lower=0.0), "Lattice parameter", IN)
        for name in ("alpha", "beta", "gamma"):
            self.declareProperty(name, 90.0, FloatBoundedValidator(lower=5.0, upper=175.0), "Lattice parameter", IN)
        self.declareProperty(FloatArrayProperty("u", [1.0, 0.0, 0.0], direction=IN))
        self.declareProperty(FloatArrayProperty("v", [0.0, 1.0, 0.0], direction=IN))
        self.declareProperty(FloatArrayProperty("UB", [0.0] * 9, direction=IN))

    def PyExec(self):
        body = self.getProperty("Workspace")._body
        value = {
            name: self.getProperty(name).value for name in ("a", "b", "c", "alpha", "beta", "gamma", "u", "v", "UB")
        }
        for info in body.infos if isinstance(body, HistoBody) else [body.info]:
            info.lattice = OrientedLattice(*list(value.values())[:6])
            if value["UB"].any():
                info.lattice.setUB(value["UB"])
            else:
                info.lattice.setUFromVectors(value["u"], value["v"])


class SetGoniometer(PythonAlgorithm):
    """One axis, the vertical one; its angle as a number."""

    def PyInit(self):
        self.declareProperty(WorkspaceProperty("Workspace", "", INOUT))
        for i in range(6):
            self.declareProperty(f"Axis{i}", "")

    def PyExec(self):
        parts = self.getPropertyValue("Axis0").split(",")
        if len(parts) != 5:
            raise ValueError("Wrong number of arguments to parameter Axis0. Expected 5 comma-separated arguments.")
        angle, *axis, sense = map(float, parts)
        if axis != [0.0, 1.0, 0.0] or sense not in (1.0, -1.0):
            raise ValueError("the stand-in turns about the vertical axis alone, by 1 or -1")
        self.getProperty("Workspace")._body.info.goniometer = angle * sense


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
    """Every bin of every spectrum becomes an event at its |Q|, or its h, k, l, and energy; nothing else."""

    def PyInit(self):
        self.declareProperty(MatrixWorkspaceProperty("InputWorkspace", "", IN))
        self.declareProperty("QDimensions", "CopyToMD", StringListValidator(["CopyToMD", "|Q|", "Q3D"]), "", INOUT)
        modes = ["Elastic", "Direct", "Indirect"]
        self.declareProperty("dEAnalysisMode", "Direct", StringListValidator(modes), "", INOUT)
        frames = ["AutoSelect", "Q_lab", "Q_sample", "HKL"]
        self.declareProperty("Q3DFrames", "AutoSelect", StringListValidator(frames), "", IN)
        scales = ["No Scaling", "Q in lattice units", "Orthogonal HKL", "HKL"]
        self.declareProperty("QConversionScales", "No Scaling", StringListValidator(scales), "", IN)
        self.declareProperty("PreprocDetectorsWS", "PreprocessedDetectorsWS")
        self.declareProperty(IMDEventWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        body = self.getProperty("InputWorkspace")._body
        asked = tuple(self.getPropertyValue(n) for n in ("QDimensions", "Q3DFrames", "QConversionScales"))
        if self.getPropertyValue("dEAnalysisMode") != "Direct" or asked not in (
            ("|Q|", "AutoSelect", "No Scaling"),
            ("Q3D", "HKL", "HKL"),
        ):
            raise ValueError(f"the stand-in does not know {asked}")
        ei = body.info.logs["Ei"].value
        energy = np.broadcast_to((body.x[:, 1:] + body.x[:, :-1]) / 2, body.y.shape)
        kept = np.isfinite(body.y) & ~body.masked[:, None] & (energy < ei)
        ki, kf = np.sqrt(ei / 2.072124855), np.sqrt(np.maximum(ei - energy, 0.0) / 2.072124855)
        two_theta, phi = np.radians(body.polar)[:, None], np.radians(body.azimuthal)[:, None]
        if asked[0] == "|Q|":
            q = [np.sqrt(ki**2 + kf**2 - 2 * ki * kf * np.cos(two_theta))]
            names = [("|Q|", "Angstrom^-1", "|Q|")]
        else:
            q, names = _hkl(body.info, ki, kf, two_theta, phi)
        places = np.stack([*(x[kept] for x in q), energy[kept]])
        dimensions = [
            IMDDimension(name, unit, frame, x.min() - 1e-4, x.max() + 1e-4, 10)
            for (name, unit, frame), x in zip([*names, ("DeltaE", "DeltaE", "General Frame")], places, strict=True)
        ]
        events = EventBody(dimensions, places, body.y[kept], body.e[kept] ** 2)
        events.infos = [body.info]
        events.coordinate_system = 3 if asked[0] == "Q3D" else 0
        self.setProperty("OutputWorkspace", handle(events))


def _hkl(info, ki, kf, two_theta, phi):
    """h, k and l of Q = ki - kf, and the dimensions they go along."""
    if info.lattice is None:
        raise ValueError(" HKL frame needs UB matrix defined on the workspace ")
    lab = [-kf * np.sin(two_theta) * np.cos(phi), -kf * np.sin(two_theta) * np.sin(phi), ki - kf * np.cos(two_theta)]
    psi = np.radians(info.goniometer)
    sample = [np.cos(psi) * lab[0] - np.sin(psi) * lab[2], lab[1], np.sin(psi) * lab[0] + np.cos(psi) * lab[2]]
    ub = 2 * np.pi * info.lattice.getUB()
    hkl = np.einsum("ij,j...->i...", np.linalg.inv(ub), np.stack(sample))
    lengths = np.linalg.norm(ub, axis=0)
    return hkl, [
        (n, f"in {x:.3f} A^-1", "HKL") for n, x in zip(("[H,0,0]", "[0,K,0]", "[0,0,L]"), lengths, strict=True)
    ]


class BinMD(PythonAlgorithm):
    """Sums of the events in each bin, along the axes or, in a space of as many dimensions, along others."""

    def PyInit(self):
        self.declareProperty(IMDEventWorkspaceProperty("InputWorkspace", "", IN))
        self.declareProperty("AxisAligned", True)
        for i in range(6):
            self.declareProperty(f"AlignedDim{i}", "")
        for i in range(6):
            self.declareProperty(f"BasisVector{i}", "")
        self.declareProperty(FloatArrayProperty("OutputExtents", [], direction=IN))
        self.declareProperty(IntArrayProperty("OutputBins", [], direction=IN))
        self.declareProperty("NormalizeBasisVectors", True)
        self.declareProperty(IMDHistoWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        body = self.getProperty("InputWorkspace")._body
        made, places = (self._aligned if self.getProperty("AxisAligned").value else self._turned)(body)
        indices = [
            np.floor((x - d.getMinimum()) / d.getBinWidth()).astype(int) for x, d in zip(places, made, strict=True)
        ]
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
        histogram.coordinate_system = body.coordinate_system
        self.setProperty("OutputWorkspace", handle(histogram))

    def _aligned(self, body):
        given = [self.getPropertyValue(f"AlignedDim{i}") for i in range(6)]
        known = {d.name: (i, d) for i, d in enumerate(body.dimensions)}
        made, places = [], []
        for name, low, high, bins in (text.rsplit(",", 3) for text in given if text):
            if name not in known:
                raise RuntimeError(f"Dimension {name} was not found in the MDEventWorkspace")
            i, old = known[name]
            frame = old.getMDFrame().name()
            made.append(IMDDimension(name, old.getUnits(), frame, float(low), float(high), int(bins)))
            places.append(body.places[i])
        return made, places

    def _turned(self, body):
        given = [text for i in range(6) if (text := self.getPropertyValue(f"BasisVector{i}"))]
        extents, bins = (self.getProperty(n).value for n in ("OutputExtents", "OutputBins"))
        count = len(body.dimensions)
        if len(given) != count or len(extents) != 2 * count or len(bins) != count:
            raise ValueError(
                "The OutputExtents parameter must have 2 entries for each dimension in the OUTPUT workspace."
            )
        if self.getProperty("NormalizeBasisVectors").value:
            raise ValueError("the stand-in takes basis vectors at their length")
        rows = [text.rsplit(",", count + 1) for text in given]
        bases = np.array([[float(x) for x in row[2:]] for row in rows])
        frames = {i: d.getMDFrame().name() for i, d in enumerate(body.dimensions)}
        made = [
            IMDDimension(name, unit, frames[int(np.flatnonzero(base)[0])], low, high, n)
            for (name, unit, *_), base, (low, high), n in zip(rows, bases, extents.reshape(-1, 2), bins, strict=True)
        ]
        return made, np.linalg.solve(bases.T, body.places)


class IntegrateMDHistoWorkspace(PythonAlgorithm):
    """Sums over whole and parts of bins along the dimensions that are given two limits."""

    def PyInit(self):
        self.declareProperty(IMDHistoWorkspaceProperty("InputWorkspace", "", IN))
        for i in range(5):
            self.declareProperty(FloatArrayProperty(f"P{i + 1}Bin", [], direction=IN))
        self.declareProperty(IMDHistoWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        body = self.getProperty("InputWorkspace")._body
        arrays = {name: getattr(body, name) for name in ("signal", "error_squared", "num_events")}
        made = []
        for axis, d in enumerate(body.dimensions):
            limits = self.getProperty(f"P{axis + 1}Bin").value
            if not len(limits):
                made.append(d)
                continue
            if len(limits) != 2 or not limits[0] < limits[1]:
                raise ValueError("the stand-in integrates between two limits")
            edges = np.array([d.getX(i) for i in range(d.getNBoundaries())])
            inside = np.minimum(edges[1:], limits[1]) - np.maximum(edges[:-1], limits[0])
            share = np.clip(inside / np.diff(edges), 0.0, 1.0)
            for name, values in arrays.items():
                arrays[name] = np.expand_dims(np.tensordot(values, share, axes=(axis, 0)), axis)
            made.append(IMDDimension(d.name, d.getUnits(), d.getMDFrame().name(), *map(float, limits), 1))
        total = HistoBody(made)
        for name, values in arrays.items():
            getattr(total, name)[...] = values
        for name in ("title", "coordinate_system", "normalization"):
            setattr(total, name, getattr(body, name))
        total.infos, total.history = list(body.infos), list(body.history)
        self.setProperty("OutputWorkspace", handle(total))


class PlusMD(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(IMDHistoWorkspaceProperty("LHSWorkspace", "", IN))
        self.declareProperty(IMDHistoWorkspaceProperty("RHSWorkspace", "", IN))
        self.declareProperty(IMDHistoWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        one, other = (self.getProperty(f"{side}HSWorkspace")._body for side in "LR")
        if one.signal.size != other.signal.size:
            raise ValueError("Cannot perform PlusMD on MDHistoWorkspace's with a different number of points.")
        total = one.copy()
        for name in ("signal", "error_squared", "num_events"):
            getattr(total, name)[...] += getattr(other, name)
        total.mask[...] = 0
        if not total.infos:
            total.infos = [InfoBody()]
        total.infos[0].logs["mdhisto_was_modified"] = LogProperty("mdhisto_was_modified", "1")
        self.setProperty("OutputWorkspace", handle(total))


class CreateEmptyTableWorkspace(PythonAlgorithm):
    def PyInit(self):
        self.declareProperty(ITableWorkspaceProperty("OutputWorkspace", "", OUT))

    def PyExec(self):
        self.setProperty("OutputWorkspace", handle(TableBody()))


for _found in list(globals().values()):
    if isinstance(_found, type) and issubclass(_found, PythonAlgorithm) and _found is not PythonAlgorithm:
        AlgorithmFactory.subscribe(_found)
