"""The bins of an MDHistoWorkspace as a spectrum for Mantid's Fit, and the text of the function to fit to it.

Mantid executes this file under its bare name at start-up, so slow imports are made only when the algorithm runs.
"""

from mantid.api import (
    AlgorithmFactory,
    FileAction,
    FileProperty,
    IMDHistoWorkspaceProperty,
    MatrixWorkspaceProperty,
    PythonAlgorithm,
)
from mantid.kernel import Direction

from mantid_insgan.errors import InsganError
from mantid_insgan.mantid_support.properties import help_url, missing_library


class PrepareSpinWFit(PythonAlgorithm):
    """Makes the workspace that Fit needs for the function SpinWResolution."""

    def category(self):
        return "MDAlgorithms\\Transforms;Inelastic\\Utility"

    def summary(self):
        return "Makes a spectrum of the bins of a histogram, to which Fit can fit the function SpinWResolution."

    def seeAlso(self):
        return ["FitSpinWModel", "Fit"]

    def helpURL(self):
        return help_url(self)

    def version(self):
        return 1

    def PyInit(self):
        self.declareProperty(
            IMDHistoWorkspaceProperty("InputWorkspace", "", Direction.Input),
            doc="Measured histogram (MDHistoWorkspace).",
        )
        self.declareProperty(
            FileProperty("ModelFile", "", FileAction.Load, [".yaml", ".yml"]), doc="Model of S(Q,E) in YAML."
        )
        self.declareProperty(
            MatrixWorkspaceProperty("OutputWorkspace", "", Direction.Output),
            doc="Spectrum of the valid bins, whose x is the number of each in the grid.",
        )
        self.declareProperty(
            name="Function", defaultValue="", doc="Text of the function for Fit.", direction=Direction.Output
        )

    def validateInputs(self):
        from mantid_insgan.models.definition import read_model

        file = self.getProperty("ModelFile").value
        try:
            if file:
                read_model(file)
        except InsganError as error:
            return {"ModelFile": str(error)}
        except ImportError as error:
            return {"ModelFile": missing_library(error, "spinw")}
        return {}

    def PyExec(self):
        from mantid_insgan.mantid_support.fit_function import bins_to_fit
        from mantid_insgan.mantid_support.workspace import run_child

        workspace = self.getProperty("InputWorkspace").value
        try:
            x, y, e = bins_to_fit(workspace)
        except InsganError as error:
            raise RuntimeError(str(error)) from error
        self.setProperty("OutputWorkspace", run_child("CreateWorkspace", DataX=x, DataY=y, DataE=e))
        file = self.getProperty("ModelFile").value
        self.setProperty("Function", f'name=SpinWResolution,ModelFile="{file}",InputWorkspace={workspace.name()}')


AlgorithmFactory.subscribe(PrepareSpinWFit)
