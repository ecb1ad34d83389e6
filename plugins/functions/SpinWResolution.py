"""A model of S(Q,E) through the resolution as a function for Mantid's Fit, with its ties, constraints and minimizers.

Mantid executes this file under its bare name at start-up, so slow imports are made only when the function is used.
"""

import numpy as np
from mantid.api import FunctionFactory, IFunction1D, mtd

from mantid_insgan.core.model_options import FitOptions
from mantid_insgan.errors import InsganError

#: Attribute -> (option, its default as an attribute; unset texts are empty and unset numbers 0).
ATTRIBUTES = {
    "Resolution": ("resolution", "covariance"),
    "Shape": ("shape", "dho"),
    "Points": ("points", 0),
    "Seed": ("seed", 0),
    "Instrument": ("instrument", ""),
    "ChopperPackage": ("chopper", ""),
    "ChopperFrequency": ("frequency", 0.0),
    "IncidentEnergy": ("ei", 0.0),
}


class SpinWResolution(IFunction1D):
    """Scale times the model, plus a background, at the bins of a workspace that PrepareSpinWFit made: x is the number
    of a bin."""

    def category(self):
        return "Inelastic"

    def init(self):
        self.declareParameter("Scale", 1.0, "Factor on the model.")
        self.declareParameter("Background", 0.0, "Intensity that is added to every bin.")
        self.declareAttribute("ModelFile", "")
        self.declareAttribute("InputWorkspace", "")
        for name, (_, default) in ATTRIBUTES.items():
            self.declareAttribute(name, default)

    def setAttributeValue(self, name, value):
        """The parameters of a model are declared when its file is known, with their limits; fixed ones are fixed."""
        if name != "ModelFile" or not value:
            return
        from mantid_insgan.models.definition import read_model

        try:
            parameters = read_model(value).parameters
        except InsganError as error:
            raise ValueError(str(error)) from error
        for name in {"Scale", "Background"} & set(parameters):
            raise ValueError(f"the model {value} has a parameter {name}, as the function has. Fix: rename it.")
        for parameter in parameters.values():
            if parameter.expression is None and not self.hasParameter(parameter.name):
                self._declare(parameter)

    def _declare(self, parameter):
        self.declareParameter(parameter.name, float(parameter.value))
        if not parameter.vary:
            self.fixParameter(parameter.name)
        for text, limit in (("{1:.10g}<{0}", parameter.low), ("{0}<{1:.10g}", parameter.high)):
            if np.isfinite(limit):
                self.addConstraints(text.format(parameter.name, limit))

    def function1D(self, xvals):
        from mantid_insgan.mantid_support.fit_function import intensity

        names = [self.parameterName(i) for i in range(self.nParams())]
        values = {name: self.getParameterValue(name) for name in names}
        scale, background = values.pop("Scale"), values.pop("Background")
        try:
            workspace = mtd[self.getAttributeValue("InputWorkspace")]
            seen = intensity(self.getAttributeValue("ModelFile"), workspace, self._options(), values)
        except InsganError as error:
            raise RuntimeError(str(error)) from error
        return np.ascontiguousarray(scale * seen[np.rint(xvals).astype(int)] + background, dtype=np.float64)

    def _options(self):
        given = {option: self.getAttributeValue(name) for name, (option, _) in ATTRIBUTES.items()}
        unset = {name for name, value in given.items() if not value and name != "seed"}
        return FitOptions(**{name: value for name, value in given.items() if name not in unset})


FunctionFactory.subscribe(SpinWResolution)
