"""mantid.simpleapi: a function for each algorithm; at import the user's plug-ins are executed."""

import importlib.machinery
import importlib.util
import inspect
import os
import sys
from collections import namedtuple
from pathlib import Path

import mantid

from . import _builtin  # noqa: F401
from ._lhs import lhs_names
from .api import AlgorithmFactory, AlgorithmManager, AnalysisDataService, IWorkspaceProperty, Workspace, mtd  # noqa: F401
from .api._algorithms import INVALID
from .kernel import Direction, config, logger

_PLUGINS = "user.python.plugins.directories"


def _create_algorithm_function(name, version, algm_object):
    """Make the function of an algorithm and put it into this module."""
    algm_object.initialize()

    def call(*args, **kwargs):
        frame = inspect.currentframe().f_back
        parent = _parent(frame)
        wanted = kwargs.pop("Version", version)
        store, logging = kwargs.pop("StoreInADS", True), kwargs.pop("EnableLogging", True)
        algorithm = (
            AlgorithmManager.create(name, wanted)
            if parent is None
            else parent.createChildAlgorithm(name, version=wanted)
        )
        algorithm.setRethrows(True)
        algorithm.setLogging(logging)
        algorithm.setAlwaysStoreInADS(store)
        number, names = lhs_names(frame)
        _set(algorithm, args, _outputs(algorithm, names) | kwargs)
        try:
            algorithm.execute()
        except RuntimeError as error:
            _explain(algorithm, error, args, kwargs)
        return _results(algorithm, number)

    call.__name__ = name
    call.__doc__ = algm_object.docString()
    globals()[name] = call
    return call


def _parent(frame):
    while frame is not None:
        if frame.f_code.co_name == "PyExec":
            return frame.f_locals["self"]
        frame = frame.f_back
    return None


def _outputs(algorithm, names):
    """Output workspaces named by the variables left of the call."""
    outputs = [algorithm.getProperty(p) for p in algorithm.outputProperties()]
    given, left = {}, list(names)
    for i, prop in enumerate(outputs):
        if isinstance(prop, IWorkspaceProperty) and left:
            given[prop.name] = left.pop(0) if len(names) < len(outputs) else names[i]
    return given


def _set(algorithm, args, keywords):
    rest = [p for p in algorithm.mandatoryProperties() if p not in keywords]
    if len(args) > len(rest):
        raise RuntimeError(f"{algorithm.name()} takes no more than {len(rest)} positional arguments")
    for key, value in [*keywords.items(), *zip(rest, args, strict=False)]:
        if value is None:
            continue
        if not algorithm.existsProperty(key):
            raise TypeError(f"'{key}' is an invalid keyword argument for {algorithm.name()}-v{algorithm.version()}")
        try:
            if isinstance(value, Workspace) and value.name():
                algorithm.setPropertyValue(key, value.name())
            elif isinstance(value, list) and any(isinstance(v, Workspace) for v in value):
                algorithm.setProperty(key, [v.name() for v in value])
            else:
                algorithm.setProperty(key, value)
        except (RuntimeError, TypeError, ValueError) as error:
            name = f"{algorithm.name()}-v{algorithm.version()}"
            raise type(error)(f'Problem setting "{key}" in {name}: {error}') from error


def _explain(algorithm, error, args, keywords):
    if str(error) != INVALID:
        raise RuntimeError(f"{algorithm.name()}-v{algorithm.version()}: {error}") from error
    given = {*keywords, *algorithm.mandatoryProperties()[: len(args)]}
    missing = [p.name for p in algorithm.getProperties() if p.isValid and p.name not in given]
    if missing:
        raise TypeError(f"{algorithm.name()} missing required arguments: " + ", ".join(f"'{m}'" for m in missing))
    raise TypeError(f"in running {algorithm.name()}: {error}")


def _results(algorithm, number):
    found = {}
    for name in algorithm.outputProperties() + algorithm.inoutProperties():
        prop = algorithm.getProperty(name)
        if not isinstance(prop, IWorkspaceProperty):
            found[name] = prop.value
        elif prop.valueAsStr in AnalysisDataService:
            if prop.direction == Direction.Output:
                found[name] = AnalysisDataService[prop.valueAsStr]
        elif prop._held is not None:
            found[name] = prop.value
    if number > 1 and number != len(found):
        raise RuntimeError(
            f"{algorithm.name()} is trying to return {len(found)} output(s) but you have provided {number} "
            "variable(s). These numbers must match."
        )
    if len(found) < 2:
        return next(iter(found.values()), None)
    return namedtuple(f"{algorithm.name()}_returns", found)(**found)


def _clone(self, OutputWorkspace=""):
    number, names = lhs_names(inspect.currentframe().f_back)
    return globals()["CloneMDWorkspace"](self, OutputWorkspace=OutputWorkspace or names[0])


def _delete(self):
    globals()["DeleteWorkspace"](self)


Workspace.clone, Workspace.delete = _clone, _delete


def _translate():
    for name, versions in AlgorithmFactory.getRegisteredAlgorithms(True).items():
        try:
            algorithm = AlgorithmManager.createUnmanaged(name, max(versions))
            _create_algorithm_function(name, max(versions), algorithm)
        except Exception as error:
            logger.warning(f"Error initializing {name} on registration: '{error}'")


def _mock(name):
    def fake(*args, **kwargs):
        raise RuntimeError("The mock simple API functions have not been replaced!")

    globals()[name] = fake


def _load_plugins():
    """Execute every Python file below the user's plug-in directories under its bare name."""
    directories = [d.strip() for d in config[_PLUGINS].split(";") if d.strip()]
    files = []
    for directory in directories:
        if not os.path.isdir(directory):
            logger.warning(f"Error occurred during plugin discovery: {directory} is not a directory")
        files += sorted(Path(directory).rglob("*.py"))
    for file in files:
        _mock(file.stem)
    sys.path.extend(directories)
    try:
        for file in files:
            try:
                loader = importlib.machinery.SourceFileLoader(file.stem, str(file))
                module = importlib.util.module_from_spec(importlib.util.spec_from_loader(file.stem, loader))
                sys.modules[file.stem] = module
                loader.exec_module(module)
            except Exception as error:  # but not SystemExit, which ends Mantid
                logger.warning(f"Failed to load plugin {file}. {type(error).__name__}: {error}")
    finally:
        for directory in directories:
            sys.path.remove(directory)


_translate()
mantid.simpleapi = sys.modules[__name__]
_load_plugins()
_translate()
