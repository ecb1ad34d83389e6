"""What the fit function SpinWResolution calculates, and the workspace that Mantid's Fit needs for it.

Fit cannot use MDHistoWorkspaces, so their bins become a spectrum: x is the number of a bin in the grid, in C order.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..core.model_options import FitOptions
from ..core.spectrum import Spectrum, per_event
from ..errors import InputError
from ..fit.engines import engine_for
from ..fit.job import fit_data
from ..models.definition import ModelDefinition, read_model
from .workspace import read_outline, read_workspace

#: Convolutions that are kept: Fit copies a function by its text, so an object of it remembers nothing.
_MOST_KEPT = 4
_kept: OrderedDict[tuple, tuple[ModelDefinition, Callable]] = OrderedDict()


def intensity(file: str, workspace, options: FitOptions, values: Mapping[str, float]) -> np.ndarray:
    """The model at some values of its parameters in every bin of a workspace, in C order, 0 where no neutron can be.

    What does not depend on the values is kept from call to call, as long as file, workspace and options are the same.

    Parameters
    ----------
    file : str
        A model in YAML.
    workspace : mantid.api.IMDHistoWorkspace
    options : FitOptions
        Facts of the run, resolution, points, seed and shape are used.
    values : mapping of str to float

    Raises
    ------
    InsganError
        If the file, the facts of the run or the axes will not do, or the model is not stable.
    """
    spectrum = read_outline(workspace)
    key = (file, os.stat(file).st_mtime_ns, options, _key(spectrum))
    if key not in _kept:
        _kept[key] = _prepared(file, workspace.name(), spectrum, options)
        if len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    definition, engine = _kept[key]
    values = definition.values(values)
    line = values.get("line")
    seen = engine(
        definition.build(values),
        line=None if line is None or line <= 0 else line,
        shape=options.shape,
        width_factor=values.get("width_factor", 1.0),
    )
    return np.ascontiguousarray(np.nan_to_num(seen.ravel()))


def bins_to_fit(workspace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, intensity and standard error of each valid bin with an error above 0, each of shape (N,).

    Raises
    ------
    InputError
        If there is none.
    """
    spectrum = per_event(read_workspace(workspace))
    numbers = np.flatnonzero(spectrum.valid & (spectrum.variance > 0))
    if not numbers.size:
        raise InputError(
            f"no bin of {workspace.name()!r} is valid and has an error above 0", "check its mask and its errors"
        )
    flat = spectrum.signal.ravel(), np.sqrt(spectrum.variance.ravel())
    return numbers.astype(float), *(values[numbers] for values in flat)


def _key(spectrum: Spectrum) -> tuple:
    axes = tuple((a.name, a.unit, a.frame, a.edges.tobytes()) for a in spectrum.axes)
    facts = tuple((name, str(fact.value)) for name, fact in spectrum.run.facts.items())
    return axes, facts, spectrum.valid.tobytes()


def _prepared(file: str, name: str, spectrum: Spectrum, options: FitOptions) -> tuple[ModelDefinition, Callable]:
    definition, (data,) = fit_data(read_model(file), {name: spectrum}, replace(options, set=(), free=()))
    how = {"seed": options.seed, "points": options.points}
    return definition, engine_for(options.resolution, data.spectrum, data.resolution, definition.build(), **how)
