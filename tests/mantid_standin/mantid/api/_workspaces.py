"""Workspaces: bodies, which own the data, and handles, which may outlive them."""

import itertools
import weakref
from copy import deepcopy

import numpy as np

from ..kernel import DataItem, SpecialCoordinateSystem
from ..kernel._enums import boost_enum

MDNormalization = boost_enum("MDNormalization", NoNormalization=0, VolumeNormalization=1, NumEventsNormalization=2)

_GONE = "Variable invalidated, data has been deleted."
#: What is read from a view whose workspace is gone.
_GARBAGE = -6.66e66
_numbers = itertools.count()


def _trample(arrays):
    for array in arrays:
        array[...] = _GARBAGE


class Body:
    """What Mantid keeps of any workspace."""

    kind = "Workspace"

    def __init__(self):
        self.name = self.title = self.comment = ""
        self.history = []

    def copy(self):
        new = deepcopy(self)
        new.name = ""
        return new


class HistoBody(Body):
    kind = "MDHistoWorkspace"

    def __init__(self, dimensions):
        super().__init__()
        self.dimensions = list(dimensions)
        shape = tuple(d.getNBins() for d in dimensions)
        self.signal = np.full(shape, np.nan, order="F")
        self.error_squared = np.full(shape, np.nan, order="F")
        self.num_events = np.zeros(shape, order="F")
        self.mask = np.zeros(shape, dtype=np.int8, order="F")
        self.infos = []
        self.coordinate_system = 0
        self.normalization = 0
        self.convention = "Inelastic"
        self._trample_when_gone()

    def _trample_when_gone(self):
        weakref.finalize(self, _trample, [self.signal, self.error_squared, self.num_events]).atexit = False

    def __deepcopy__(self, memo):
        new = HistoBody(self.dimensions)
        for name in ("signal", "error_squared", "num_events", "mask"):
            getattr(new, name)[...] = getattr(self, name)
        new.infos = deepcopy(self.infos, memo)
        for name in ("title", "comment", "coordinate_system", "normalization", "convention"):
            setattr(new, name, getattr(self, name))
        new.history = list(self.history)
        return new


class EventBody(Body):
    def __init__(self, dimensions, places, signal, error_squared):
        super().__init__()
        self.dimensions = list(dimensions)
        self.kind = f"MDEventWorkspace<MDEvent,{len(self.dimensions)}>"
        self.places, self.signal, self.error_squared = places, signal, error_squared
        self.infos = []
        self.coordinate_system = self.normalization = 0


class GroupBody(Body):
    kind = "WorkspaceGroup"

    def __init__(self):
        super().__init__()
        self.members = []


class TableBody(Body):
    kind = "TableWorkspace"

    def __init__(self):
        super().__init__()
        self.columns = []  # (type, name)
        self.rows = []


class MatrixBody(Body):
    kind = "Workspace2D"

    def __init__(self, x, y, e):
        super().__init__()
        self.x, self.y, self.e = x, y, e
        self.info = InfoBody()


class InfoBody:
    """Logs, lattice and instrument of one experiment."""

    def __init__(self):
        self.logs = {}
        self.lattice = None
        self.shape_xml = ""
        self.geometry = (0, 0.0, 0.0, 0.0)  # flag, width, height, thickness (mm)
        self.instrument = ""
        self.goniometer = 0.0  # degrees about the vertical axis


class LentInfo:
    """The info of a workspace that was given by a weak handle: it is gone with that workspace."""

    def __init__(self, body):
        self._reference = weakref.ref(body)

    def _there(self):
        body = self._reference()
        if body is None:
            raise RuntimeError(_GONE)
        return body.info

    def __getattr__(self, name):
        return getattr(self._there(), name)

    def __deepcopy__(self, memo):
        return deepcopy(self._there(), memo)


class LogProperty:
    def __init__(self, name, value, units="", times=None):
        self.name, self.value, self.units, self.times = name, value, units, times


class Run:
    def __init__(self, info):
        self._info = info

    def keys(self):
        return list(self._info.logs)

    def hasProperty(self, name):
        return name in self._info.logs

    def getProperty(self, name):
        if name not in self._info.logs:
            raise RuntimeError(f"Unknown property search object {name}")
        return self._info.logs[name]

    def getLogData(self, name):
        return self.getProperty(name)

    def get(self, key, default=None):
        return self._info.logs.get(key, default)

    def addProperty(self, name, value, *units_replace):
        units, replace = units_replace if len(units_replace) == 2 else ("", *units_replace)
        if type(value) not in (bool, int, float, str, list):
            raise TypeError(f"no registered converter takes {type(value).__name__}")
        if self.hasProperty(name) and not replace:
            raise ValueError(f"Property {name} already exists")
        self._info.logs[name] = LogProperty(name, value, units)

    def __contains__(self, name):
        return self.hasProperty(name)

    def __getitem__(self, name):
        if name not in self._info.logs:
            raise KeyError(name)
        return self._info.logs[name]


class Sample:
    def __init__(self, info):
        self._info = info

    def hasOrientedLattice(self):
        return self._info.lattice is not None

    def getOrientedLattice(self):
        if self._info.lattice is None:
            raise RuntimeError("Sample::getOrientedLattice - No OrientedLattice has been defined.")
        return self._info.lattice

    def getShape(self):
        return Shape(self._info)

    def getGeometryFlag(self):
        return self._info.geometry[0]

    def getWidth(self):
        return self._info.geometry[1]

    def getHeight(self):
        return self._info.geometry[2]

    def getThickness(self):
        return self._info.geometry[3]


class Shape:
    def __init__(self, info):
        self._info = info

    def getShapeXML(self):
        return self._info.shape_xml


class Instrument:
    def __init__(self, name):
        self._name = name

    def getName(self):
        return self._name


class ExperimentInfo:
    def __init__(self, info):
        self._experiment = info

    def run(self):
        return Run(self._experiment)

    mutableRun = run

    def sample(self):
        return Sample(self._experiment)

    mutableSample = sample

    def getInstrument(self):
        return Instrument(self._experiment.instrument)


class Workspace(DataItem):
    """A handle. Weak ones, from simpleapi and the data service, die with the workspace."""

    def __init__(self, body, weak=False):
        self._reference, self._is_weak = weakref.ref(body) if weak else (lambda: body), weak

    @property
    def _body(self):
        body = self._reference()
        if body is None:
            raise RuntimeError(_GONE)
        return body

    def name(self):
        return self._body.name

    getName = name

    def id(self):
        return self._body.kind

    def getTitle(self):
        return self._body.title

    def setTitle(self, title):
        self._body.title = title

    def getComment(self):
        return self._body.comment

    def setComment(self, comment):
        self._body.comment = comment

    def getHistory(self):
        return WorkspaceHistory(self._body.history)

    def __str__(self):
        return self.name()


class WorkspaceHistory:
    def __init__(self, records):
        self._records = list(records)

    def size(self):
        return len(self._records)

    def empty(self):
        return not self._records

    def getAlgorithmHistories(self):
        return list(self._records)

    def getAlgorithmHistory(self, index):
        return self._records[index]


class AlgorithmHistory:
    """One entry: `values` by property, or the text in which a file keeps it."""

    def __init__(self, name, version, values, text=""):
        self._name, self._version, self._values, self.text = name, version, dict(values), text
        self.key = next(_numbers)

    def getChildHistories(self):
        return []

    def name(self):
        return self._name

    def version(self):
        return self._version

    def getPropertyValue(self, index):
        if index not in self._values:
            raise RuntimeError(f"Property {index} is not in the history of {self._name}")
        return self._values[index]


class MDGeometry:
    def getNumDims(self):
        return len(self._body.dimensions)

    def getDimension(self, index):
        if not 0 <= index < self.getNumDims():
            raise RuntimeError("Workspace does not have a dimension at index " + str(index))
        return self._body.dimensions[index]

    def getXDimension(self):
        return self.getDimension(0)

    def getYDimension(self):
        return self.getDimension(1)

    def getZDimension(self):
        return self.getDimension(2)

    def getTDimension(self):
        return self.getDimension(3)

    def getDimensionIndexByName(self, name):
        return self._index(name)

    def getDimensionIndexById(self, id):
        return self._index(id)

    def getDimensionWithId(self, id):
        return self.getDimension(self._index(id))

    def _index(self, name):
        for i, dimension in enumerate(self._body.dimensions):
            if dimension.name == name:
                return i
        raise RuntimeError(f"Dimension {name} was not found")

    def getNonIntegratedDimensions(self):
        return [d for d in self._body.dimensions if d.getNBins() > 1]


class MultipleExperimentInfos:
    def getNumExperimentInfo(self):
        return len(self._body.infos)

    def getExperimentInfo(self, run_index):
        if not 0 <= run_index < len(self._body.infos):
            raise ValueError("MDWorkspace::getExperimentInfo(): expInfoNumber is out of range.")
        info = self._body.infos[run_index]
        info.logs  # noqa: B018  (raises where the workspace that lent it is gone)
        return ExperimentInfo(info)

    def addExperimentInfo(self, ExperimentalInfo):
        lent = getattr(ExperimentalInfo, "_is_weak", False)
        self._body.infos.append(LentInfo(ExperimentalInfo._body) if lent else ExperimentalInfo._experiment)
        return len(self._body.infos) - 1

    def copyExperimentInfos(self, MultipleExperimentInfos):
        self._body.infos = deepcopy(MultipleExperimentInfos._body.infos)


class IMDWorkspace(Workspace, MDGeometry):
    def isMDHistoWorkspace(self):
        return True

    def displayNormalization(self):
        return MDNormalization(self._body.normalization)

    def displayNormalizationHisto(self):
        return self.displayNormalization()

    def getSpecialCoordinateSystem(self):
        return SpecialCoordinateSystem(self._body.coordinate_system)

    def getNPoints(self):
        return self._body.signal.size


class IMDHistoWorkspace(IMDWorkspace, MultipleExperimentInfos):
    def _view(self, name):
        view = getattr(self._body, name).view()
        view.flags.writeable = False
        return view

    def getSignalArray(self):
        return self._view("signal")

    def getErrorSquaredArray(self):
        return self._view("error_squared")

    def getNumEventsArray(self):
        return self._view("num_events")

    def setSignalArray(self, signalValues):
        self._set("signal", signalValues)

    def setErrorSquaredArray(self, errorSquared):
        self._set("error_squared", errorSquared)

    def _set(self, name, values):
        if not isinstance(values, np.ndarray) or values.dtype != np.float64:
            raise TypeError(f"no registered converter takes {getattr(values, 'dtype', type(values).__name__)}")
        target = getattr(self._body, name)
        if values.shape != target.shape:
            raise ValueError(f"The shape of the array, {values.shape}, is not that of the workspace, {target.shape}")
        target[...] = values

    def setTo(self, signal, error_squared, num_events):
        self._body.signal[...] = signal
        self._body.error_squared[...] = error_squared
        self._body.num_events[...] = num_events

    def getLinearIndex(self, index1, index2, *others):
        indices = (index1, index2, *others)
        if len(indices) != self.getNumDims():
            raise RuntimeError("The number of indices is not that of the dimensions")
        return int(np.ravel_multi_index(indices, self._body.signal.shape, order="F"))

    def signalAt(self, index):
        return float(self._body.signal.ravel("F")[index])

    def errorSquaredAt(self, index):
        return float(self._body.error_squared.ravel("F")[index])

    def setSignalAt(self, index, value):
        if not 0 <= index < self._body.signal.size:
            raise ValueError("setSignalAt: The index is greater than the size of the workspace")
        self._body.signal[np.unravel_index(index, self._body.signal.shape, order="F")] = value

    def setErrorSquaredAt(self, index, value):
        self._body.error_squared[np.unravel_index(index, self._body.signal.shape, order="F")] = value

    def getInverseVolume(self):
        return 1 / float(np.prod([d.getBinWidth() for d in self._body.dimensions]))

    def setDisplayNormalization(self, normalization):
        if not isinstance(normalization, MDNormalization):
            raise TypeError("setDisplayNormalization takes an MDNormalization")
        self._body.normalization = int(normalization)


class MDHistoWorkspace(IMDHistoWorkspace):
    pass


class IMDEventWorkspace(IMDWorkspace, MultipleExperimentInfos):
    def isMDHistoWorkspace(self):
        return False


class WorkspaceGroup(Workspace):
    def __init__(self, body=None, weak=False):
        super().__init__(GroupBody() if body is None else body, weak)

    def addWorkspace(self, workspace):
        self._body.members.append(workspace._body)

    def remove(self, workspace_name):
        self._body.members = [b for b in self._body.members if b.name != workspace_name]

    def getNumberOfEntries(self):
        return len(self._body.members)

    size = getNumberOfEntries
    __len__ = getNumberOfEntries

    def getNames(self):
        return [b.name for b in self._body.members]

    def contains(self, workspace):
        return str(workspace) in self.getNames()

    def getItem(self, workspace_name):
        return handle(self._body.members[workspace_name], weak=True)

    __getitem__ = getItem

    def __iter__(self):
        return (self.getItem(i) for i in range(len(self)))


class ITableWorkspace(Workspace):
    def addColumn(self, type, name, plottype=0):
        self._body.columns.append((type, name))
        for row in self._body.rows:
            row.append(0)
        return True

    def addRow(self, row_items_seq):
        items = row_items_seq
        if isinstance(items, dict):
            items = [items[name] for name in self.getColumnNames()]
        if len(items) != self.columnCount():
            raise ValueError("The number of values is not that of the columns")
        kinds = {"int": int, "double": (float, int), "float": (float, int), "str": str, "bool": bool}
        for (kind, name), value in zip(self._body.columns, items, strict=True):
            if not isinstance(value, kinds[kind]):
                raise TypeError(f"column {name} holds {kind}, not {type(value).__name__}")
        self._body.rows.append(list(items))

    def columnCount(self):
        return len(self._body.columns)

    def rowCount(self):
        return len(self._body.rows)

    def getColumnNames(self):
        return [name for _, name in self._body.columns]

    keys = getColumnNames

    def cell(self, value, row_or_column):
        """(row, column index) or (column name, row)."""
        if isinstance(value, str):
            return self._body.rows[row_or_column][self.getColumnNames().index(value)]
        return self._body.rows[value][row_or_column]

    def column(self, column):
        index = self.getColumnNames().index(column) if isinstance(column, str) else column
        return [row[index] for row in self._body.rows]

    def row(self, row):
        return dict(zip(self.getColumnNames(), self._body.rows[row], strict=True))

    def toDict(self):
        return {name: self.column(name) for name in self.getColumnNames()}


class MatrixWorkspace(Workspace, ExperimentInfo):
    @property
    def _experiment(self):
        return self._body.info

    def getNumberHistograms(self):
        return len(self._body.y)

    def blocksize(self):
        return self._body.y.shape[1]

    def readX(self, workspaceIndex):
        return self._body.x[workspaceIndex].copy()

    def readY(self, workspaceIndex):
        return self._body.y[workspaceIndex].copy()

    def readE(self, workspaceIndex):
        return self._body.e[workspaceIndex].copy()


_HANDLES = {
    "MDHistoWorkspace": MDHistoWorkspace,
    "MDEventWorkspace<MDEvent,2>": IMDEventWorkspace,
    "MDEventWorkspace<MDEvent,4>": IMDEventWorkspace,
    "WorkspaceGroup": WorkspaceGroup,
    "TableWorkspace": ITableWorkspace,
    "Workspace2D": MatrixWorkspace,
}


def handle(body, weak=False):
    """A handle of the class of the workspace."""
    return _HANDLES[body.kind](body, weak)
