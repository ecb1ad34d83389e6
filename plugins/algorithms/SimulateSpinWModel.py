"""A model of S(Q,E) in Mantid, as the spectrometer would record it on the grid of an MDHistoWorkspace.

Mantid executes this file under its bare name at start-up, so slow imports are made only when the algorithm runs.
"""

from mantid.api import (
    AlgorithmFactory,
    FileAction,
    FileProperty,
    IMDHistoWorkspaceProperty,
    PythonAlgorithm,
)
from mantid.kernel import Direction

from mantid_insgan.bundled import instrument_names
from mantid_insgan.core.model_options import LINE_SHAPES, SIMULATED_BY, SimulateOptions, parse_settings
from mantid_insgan.core.options import in_mantid, option
from mantid_insgan.errors import InsganError
from mantid_insgan.mantid_support.properties import (
    Reports,
    declare_option,
    help_url,
    missing_library,
    options_of,
    set_rules,
    told_under,
)

#: Group of the dialog -> options in it.
GROUPS = {
    "Model": ("set", "line", "shape"),
    "Measurement": ("instrument", "chopper", "frequency", "ei", "lattice", "u", "v"),
    "Calculation": ("resolution", "width_factor", "sample", "mosaic", "points", "seed"),
}

#: Tooltips of properties that are filled otherwise than options of the command line.
TOOLTIPS = {"set": "Values of parameters, separated by commas, such as J=29, Jp=2; the others have those of the file."}


class SimulateSpinWModel(PythonAlgorithm):
    """Simulates a model of S(Q,E) as a spectrometer would record it."""

    def category(self):
        return "MDAlgorithms\\Creation;Inelastic\\Corrections"

    def summary(self):
        return "Simulates a model of S(Q,E) as a neutron spectrometer would record it, on the grid of a workspace."

    def seeAlso(self):
        return ["FitSpinWModel", "ApplyResolutionGAN", "LoadMD", "BinMD"]

    def helpURL(self):
        return help_url(self)

    def version(self):
        return 1

    def PyInit(self):
        self.declareProperty(
            IMDHistoWorkspaceProperty("InputWorkspace", "", Direction.Input),
            doc="Histogram (MDHistoWorkspace) whose axes, valid bins and logs are taken, or a group of them.",
        )
        self.declareProperty(
            FileProperty("ModelFile", "", FileAction.Load, [".yaml", ".yml"]), doc="Model of S(Q,E) in YAML."
        )
        self.declareProperty(
            IMDHistoWorkspaceProperty("OutputWorkspace", "", Direction.Output),
            doc="Clone of the input with the simulated signal.",
        )
        choices = {"instrument": ["", *instrument_names()], "resolution": SIMULATED_BY, "shape": LINE_SHAPES}
        for group, names in GROUPS.items():
            for name in names:
                declare_option(self, name, SimulateOptions, choices=choices.get(name), text=TOOLTIPS.get(name))
                self.setPropertyGroup(option(name, SimulateOptions)["property"], group)
        self.declareProperty(
            name="ValidBins",
            defaultValue=0,
            doc="Number of bins that have a simulated signal.",
            direction=Direction.Output,
        )
        set_rules(self)

    def validateInputs(self):
        try:
            return self._problems()
        except ImportError as error:
            return {"ModelFile": missing_library(error, "spinw")}

    def _problems(self):
        """Property -> what is wrong with it. Mantid also asks while the dialog is half filled."""
        from mantid_insgan.models.definition import read_model

        workspace, file = (self.getProperty(name).value for name in ("InputWorkspace", "ModelFile"))
        if workspace is None or not file:
            return {}
        where = "ModelFile"
        try:
            definition = read_model(file)
            where = "Values"
            definition.with_starts(**parse_settings(self._options().set))
        except InsganError as error:
            return {where: in_mantid(str(error), SimulateOptions)}
        return self._problems_of_data(definition, workspace)

    def _problems_of_data(self, definition, workspace):
        from mantid_insgan.mantid_support.workspace import read_outline
        from mantid_insgan.translate.inspect import missing_facts
        from mantid_insgan.translate.simulate import plan_simulation

        options = self._options()
        try:
            spectrum = read_outline(workspace)
            lacking = missing_facts(options.run(spectrum.run), spectrum.axes)
            problems = {}
            for name in (n for n in lacking if n != "lattice"):  # which the model has
                about = option(name, SimulateOptions)
                problems[about["property"]] = f"the data do not contain it. Fix: give it. {about['help']}"
            if not problems:
                plan_simulation(definition, spectrum, options=options)
            return problems
        except InsganError as error:
            return told_under(error, SimulateOptions, "InputWorkspace")

    def PyExec(self):
        try:
            self._execute()
        except InsganError as error:
            raise RuntimeError(in_mantid(str(error), SimulateOptions)) from error
        except ImportError as error:
            raise RuntimeError(missing_library(error, "spinw")) from error

    def _execute(self):
        from mantid_insgan.mantid_support.workspace import read_workspace, to_workspace_like
        from mantid_insgan.models.definition import read_model
        from mantid_insgan.translate.simulate import plan_simulation

        workspace = self.getProperty("InputWorkspace").value
        report = Reports(self)
        report(0.0, "Reading model and workspace")
        like = read_workspace(workspace)
        plan = plan_simulation(read_model(self.getProperty("ModelFile").value), like, options=self._options())
        found = plan.spectrum(lambda share: report(share, "Simulating"))
        self._tell(plan)
        self.setProperty("ValidBins", int(found.valid.sum()))
        self.setProperty("OutputWorkspace", to_workspace_like(found, workspace, like.num_events))

    def _tell(self, plan):
        log = self.log()
        values = ", ".join(f"{name} {value:g}" for name, value in plan.values.items())
        log.notice(f"Model: {plan.definition.name} with {values}; {plan.resolution}")
        for note in plan.notes:
            log.warning(in_mantid(note, SimulateOptions))

    def _options(self):
        return options_of(self, GROUPS, SimulateOptions)


AlgorithmFactory.subscribe(SimulateSpinWModel)
