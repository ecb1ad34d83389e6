"""The parameters of a model definition as lmfit has them: limits and ties."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def lmfit_parameters(definition, values: Mapping[str, float]):
    """The definition's parameters as lmfit's, at these values, with limits and ties.

    Parameters
    ----------
    definition : ModelDefinition
    values : mapping of str to float
        Of all that are not tied.

    Returns
    -------
    lmfit.Parameters
    """
    from lmfit import Parameters

    parameters = Parameters()
    for name, p in definition.parameters.items():
        if p.expression is None:
            value = float(np.clip(values[name], p.low, p.high))
            parameters.add(name, value=value, vary=p.vary, min=p.low, max=p.high)
    for name, p in definition.parameters.items():
        if p.expression is not None:
            parameters.add(name, expr=p.expression)
    return parameters


def tied(definition, values: Mapping[str, float]) -> dict[str, float]:
    """All values, those that are tied to others worked out."""
    if all(p.expression is None for p in definition.parameters.values()):
        return dict(values)
    parameters = lmfit_parameters(definition, values)
    return {name: float(parameters[name].value) for name in definition.parameters}
