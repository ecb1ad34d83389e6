"""Algorithms: properties, groups, execution, history, cancelling."""

import sys
import traceback

from ..kernel import Direction, IValidator, Logger, Property, PropertyWithValue
from ._ads import AnalysisDataService
from ._properties import IWorkspaceProperty, WorkspaceProperty
from ._workspaces import AlgorithmHistory, GroupBody

INVALID = "Some invalid Properties found"


class IPropertyManager:
    def __init__(self):
        self._m_properties = {}

    def getProperty(self, name):
        if name not in self._m_properties:
            raise RuntimeError(f"Unknown property search object {name}")
        return self._m_properties[name]

    def existsProperty(self, name):
        return name in self._m_properties

    has_key = existsProperty

    def getPropertyValue(self, name):
        return self.getProperty(name).valueAsStr

    def setProperty(self, name, value):
        self.getProperty(name)._put(value)

    def setPropertyValue(self, name, value):
        if not isinstance(value, str):
            raise TypeError(f"setPropertyValue takes a str, not {type(value).__name__}")
        self.getProperty(name)._put(value)

    def setProperties(self, kwargs):
        for name, value in kwargs.items():
            self.setProperty(name, value)

    def setPropertyGroup(self, name, group):
        self.getProperty(name)._group = group

    def setPropertySettings(self, name, settingsManager):
        self.getProperty(name).settings = settingsManager

    def keys(self):
        return list(self._m_properties)

    def getProperties(self):
        return list(self._m_properties.values())

    def propertyCount(self):
        return len(self._m_properties)


class IAlgorithm(IPropertyManager):
    def __init__(self):
        super().__init__()
        self._m_initialized = self._m_executed = self._m_running = self._m_cancelled = False
        self._m_child = self._m_store = self._m_rethrows = False
        self._m_logging = True
        self._m_observers = []
        self._m_parent = None
        self._m_records = False

    # what a Python algorithm may override
    def category(self):
        return "PythonAlgorithms"

    def summary(self):
        return ""

    def seeAlso(self):
        return []

    def helpURL(self):
        return ""

    def version(self):
        return 1

    def alias(self):
        return ""

    def validateInputs(self):
        return {}

    def checkGroups(self):
        """True if an input is a group that is to be run through one by one."""
        return any(isinstance(p._body, GroupBody) and not p._fits(p._body) for p in self._m_inputs())

    # ----
    def name(self):
        return type(self).__name__

    def categories(self):
        return self.category().split(";")

    def docString(self):
        return self.summary()

    def declareProperty(self, *args, **kwargs):
        prop, doc = _declared(*args, **kwargs)
        if prop.name in self._m_properties:
            raise ValueError(f"Property with given name ({prop.name}) already exists")
        prop.documentation = doc
        self._m_properties[prop.name] = prop

    def initialize(self):
        if not self._m_initialized:
            self.PyInit()
            self._m_initialized = True

    def mandatoryProperties(self):
        """Inputs in the order in which positional arguments fill them."""
        inputs = [p for p in self._m_properties.values() if p.direction != Direction.Output]
        return [p.name for p in sorted(inputs, key=lambda p: not p.isValid)]

    def orderedProperties(self):
        return [p.name for p in sorted(self._m_properties.values(), key=lambda p: not p.isValid)]

    def outputProperties(self):
        return [p.name for p in self._m_properties.values() if p.direction == Direction.Output]

    def inoutProperties(self):
        return [p.name for p in self._m_properties.values() if p.direction == Direction.InOut]

    def setChild(self, is_child):
        self._m_child = is_child

    def isChild(self):
        return self._m_child

    def setAlwaysStoreInADS(self, do_store):
        self._m_store = do_store

    def setRethrows(self, rethrow):
        self._m_rethrows = rethrow

    def setLogging(self, value):
        self._m_logging = value

    def isLogging(self):
        return self._m_logging

    def setAlgStartupLogging(self, enabled):
        pass

    def enableHistoryRecordingForChild(self, on):
        self._m_records = on

    def isInitialized(self):
        return self._m_initialized

    def isExecuted(self):
        return self._m_executed

    def isRunning(self):
        return self._m_running

    def cancel(self):
        self._m_cancelled = True

    def _m_is_cancelled(self):
        return self._m_cancelled or self._m_parent is not None and self._m_parent._m_is_cancelled()

    def execute(self):
        if not self._m_initialized:
            raise RuntimeError(f"Algorithm is not initialised:{self.name()}")
        self._m_executed, self._m_cancelled, self._m_running = False, False, True
        try:
            self._m_run()
        except RuntimeError as error:
            self._m_tell("errorHandle", str(error))
            self.log().error(f"Error in execution of algorithm {self.name()}:\n{error}")
            if self._m_child or self._m_rethrows:
                raise
            return False
        except KeyboardInterrupt:  # what Python sees of Mantid's CancelException
            self._m_tell("errorHandle", "Algorithm terminated")
            if self._m_child or self._m_rethrows:
                raise
            return False
        finally:
            self._m_running = False
            if not self._m_child:
                for prop in self._m_workspaces():
                    prop._held = None
        self._m_executed = True
        self._m_tell("finishHandle")
        return True

    def _m_run(self):
        self._m_tell("startingHandle")
        self._m_require_valid({p.name: p.isValid for p in self._m_properties.values()})
        if self.checkGroups():
            self._m_run_group()
            return
        problems = self.validateInputs()
        if not all(isinstance(x, str) for pair in problems.items() for x in pair):
            raise TypeError("validateInputs gives a dict of str to str")
        self._m_require_valid({n: text for n, text in problems.items() if n in self._m_properties})
        self._m_execute()
        if not self._m_child or self._m_records:
            self._m_record()
        if not self._m_child or self._m_store:
            for prop in self._m_workspaces():
                prop._store()

    def _m_require_valid(self, problems):
        for name, problem in problems.items():
            if problem:
                self.log().error(f"Invalid value for {name}: {problem}")
        if any(problems.values()):
            raise RuntimeError(INVALID)

    def _m_execute(self):
        """PyExec; whatever it raises leaves as a RuntimeError of the text alone, cancelling as a KeyboardInterrupt."""
        try:
            self.PyExec()
        except BaseException as error:
            if self._m_is_cancelled():
                raise KeyboardInterrupt from None
            where = traceback.extract_tb(sys.exc_info()[2])[-1]
            raise RuntimeError(f"{error}\n  at line {where.lineno} in '{where.filename}'") from None

    def _m_run_group(self):
        inputs = [p for p in self._m_inputs() if p._body is not None]
        outputs = [p for p in self._m_workspaces() if p.direction == Direction.Output and p._name]
        groups = [p._body.members for p in inputs if isinstance(p._body, GroupBody)]
        if len({len(g) for g in groups}) != 1:
            raise RuntimeError("Input WorkspaceGroups are not of the same size.")
        similar = all(
            m.name.rpartition("_")[0] == p._body.name
            for p in inputs
            if isinstance(p._body, GroupBody)
            for m in p._body.members
        )
        members = {p.name: [] for p in outputs}
        for i in range(len(groups[0])):
            child = AlgorithmManager.createUnmanaged(self.name(), self.version())
            child.initialize()
            child.setChild(True)
            child.setAlwaysStoreInADS(True)
            child._m_parent = self
            for name, prop in self._m_properties.items():
                if (
                    not isinstance(prop, IWorkspaceProperty)
                    and not prop.isDefault
                    and prop.direction != Direction.Output
                ):
                    child.setPropertyValue(name, prop.valueAsStr)
            names = []
            for prop in inputs:
                body = prop._body.members[i] if isinstance(prop._body, GroupBody) else prop._body
                child.setPropertyValue(prop.name, body.name)
                names.append(body.name)
            for prop in outputs:
                name = f"{prop._name}_{i + 1}" if similar else "_".join([*names, prop._name])
                child.setPropertyValue(prop.name, name)
            try:
                child.execute()
            except RuntimeError as error:
                raise RuntimeError(f"Execution of {self.name()} for group entry {i + 1} failed: {error}") from None
            for prop in outputs:
                members[prop.name].append(AnalysisDataService._body(child.getPropertyValue(prop.name)))
        for prop in outputs:
            group = GroupBody()
            group.members = members[prop.name]
            for member in group.members:  # the run itself is not recorded on the members
                member.history.append(AlgorithmHistory("GroupWorkspaces", 1, {"OutputWorkspace": prop._name}))
            AnalysisDataService.addOrReplace(prop._name, group)

    def _m_record(self):
        values = {p.name: p.valueAsStr for p in self._m_properties.values()}
        record = AlgorithmHistory(self.name(), self.version(), values)
        held = [p._body for p in self._m_inputs() if p._body is not None]
        for prop in self._m_workspaces():
            if prop.direction != Direction.Input and prop._held is not None:
                seen = {r.key: r for body in (*held, prop._held) for r in body.history}
                prop._held.history = [*seen.values(), record]

    def _m_workspaces(self):
        return [p for p in self._m_properties.values() if isinstance(p, WorkspaceProperty)]

    def _m_inputs(self):
        return [p for p in self._m_workspaces() if p.direction != Direction.Output]

    def _m_tell(self, what, *values):
        for observer in list(self._m_observers):
            if method := getattr(observer, what, None):
                method(*values)


def _declared(name, defaultValue="", validator=None, doc="", direction=Direction.Input):
    """The overloads of declareProperty: (prop, doc) or (name, defaultValue, [validator], [doc], [direction])."""
    if isinstance(name, Property):
        return name, doc or defaultValue
    if isinstance(validator, str):
        validator, doc, direction = None, validator, doc if isinstance(doc, int) else direction
    elif validator is not None and not isinstance(validator, IValidator):
        validator, direction = None, validator
    if not isinstance(defaultValue, bool | int | float | str):
        raise TypeError(f"no property is made from a default of type {type(defaultValue).__name__}")
    return PropertyWithValue(name, defaultValue, validator, direction), doc


class Algorithm(IAlgorithm):
    def log(self):
        logger = Logger(self.name())
        if not self._m_logging:
            logger._say = lambda level, message: None
        return logger

    getLogger = log

    def createChildAlgorithm(
        self, name, startProgress=-1.0, endProgress=-1.0, enableLogging=True, version=-1, **properties
    ):
        child = AlgorithmManager.createUnmanaged(name, version)
        child.initialize()
        child.setChild(True)
        child.setRethrows(True)
        child.setLogging(enableLogging)
        child._m_parent = self
        for key, value in properties.items():
            if value:  # Mantid passes over 0, False and ''
                child.setProperty(key, value)
        for key in child.outputProperties():
            if isinstance(child.getProperty(key), WorkspaceProperty) and not child.getProperty(key).isOptional():
                child.getProperty(key)._name = f"__TMP{id(child)}"
        return child


class AlgorithmProxy(IAlgorithm):
    pass


class PythonAlgorithm(Algorithm):
    pass


class DataProcessorAlgorithm(Algorithm):
    pass


class AlgorithmObserver:
    def observeStarting(self):
        pass

    def observeProgress(self, alg):
        alg._m_observers.append(_Only(self, "progressHandle"))

    def observeFinish(self, alg):
        alg._m_observers.append(_Only(self, "finishHandle"))

    def observeError(self, alg):
        alg._m_observers.append(_Only(self, "errorHandle"))


class _Only:
    """An observer as far as it asked to be told."""

    def __init__(self, observer, what):
        if hasattr(observer, what):
            setattr(self, what, getattr(observer, what))


class Progress:
    def __init__(self, alg, start, end, nreports):
        if not isinstance(nreports, int) or nreports < 1:
            raise ValueError("Progress takes a positive number of reports")
        self._alg, self._start, self._end, self._steps, self._done = alg, start, end, nreports, 0
        self._percent, self._told = 1.0, -nreports

    def setNotifyStep(self, notifyStep):
        self._percent = notifyStep

    def report(self, *i_msg):
        """report(), report(msg) or report(i, msg); less than a notify step (a hundredth) after the last one it is
        passed over, and whether the algorithm was cancelled is not looked at."""
        if len(i_msg) == 2:
            self._done = i_msg[0]
        else:
            self._done += 1
        message = i_msg[-1] if i_msg else ""
        if not isinstance(self._done, int) or not isinstance(message, str):
            raise TypeError("report takes an int and a str")
        if self._done - self._told < max(1, int(self._steps * self._percent / 100 / (self._end - self._start))):
            return
        self._told = self._done
        share = self._start + (self._end - self._start) * min(1.0, self._done / self._steps)
        self._alg._m_tell("progressHandle", share, message)
        if self._alg._m_is_cancelled():
            raise KeyboardInterrupt

    def reportIncrement(self, i, msg):
        self.report(self._done + i, msg)

    def setNumSteps(self, nsteps):
        self._steps = max(1, nsteps)

    def resetNumSteps(self, nsteps, start, end):
        self._steps, self._start, self._end, self._done = max(1, nsteps), start, end, 0
        self._told = -self._steps


class AlgorithmFactoryImpl:
    def __init__(self):
        self._classes = {}

    def subscribe(self, object):
        algorithm = object()
        for method in ("PyInit", "PyExec"):
            if not callable(getattr(algorithm, method, None)):
                raise RuntimeError(f"{object.__name__} has no {method}")
        if not isinstance(algorithm.category(), str) or not isinstance(algorithm.summary(), str):
            raise TypeError(f"category and summary of {object.__name__} must be str")
        self._classes.setdefault(object.__name__, {})[algorithm.version()] = object

    def unsubscribe(self, name, version):
        self._classes.get(name, {}).pop(version, None)

    def exists(self, name, version=-1):
        versions = self._classes.get(name, {})
        return bool(versions) if version == -1 else version in versions

    def highestVersion(self, algorithm_name):
        return max(self._classes[algorithm_name])

    def getRegisteredAlgorithms(self, include_hidden):
        return {name: list(versions) for name, versions in self._classes.items() if versions}

    def _create(self, name, version):
        versions = self._classes.get(name)
        if not versions or version != -1 and version not in versions:
            raise RuntimeError(f"Algorithm not registered {name}")
        return versions[max(versions) if version == -1 else version]()


class AlgorithmManagerImpl:
    def create(self, name, version=-1):
        algorithm = self.createUnmanaged(name, version)
        algorithm.initialize()
        algorithm.helpURL = lambda: ""  # a proxy does not know it
        return algorithm

    def createUnmanaged(self, name, version=-1):
        return AlgorithmFactory._create(name, version)


AlgorithmFactory = AlgorithmFactoryImpl()
AlgorithmManager = AlgorithmManagerImpl()
