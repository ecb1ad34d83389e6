"""A fit of a model of S(Q,E) in Mantid, to one MDHistoWorkspace or to a group of them at once.

Mantid executes this file under its bare name at start-up, so slow imports are made only when the algorithm runs.
"""

from mantid.api import (
    AlgorithmFactory,
    FileAction,
    FileProperty,
    ITableWorkspaceProperty,
    PropertyMode,
    PythonAlgorithm,
    WorkspaceGroup,
    WorkspaceProperty,
)
from mantid.kernel import Direction

from mantid_insgan.bundled import instrument_names
from mantid_insgan.core.model_options import (
    FITTED_BY,
    LINE_SHAPES,
    LOSSES,
    PROFILED_BY,
    SCALES,
    WEIGHTS,
    FitOptions,
    parse_settings,
)
from mantid_insgan.core.options import in_mantid, option
from mantid_insgan.errors import InputError, InsganError
from mantid_insgan.mantid_support.properties import (
    Reports,
    declare_option,
    help_url,
    missing_library,
    options_of,
    set_rules,
    told_under,
    warnings_in_log,
)

#: Group of the dialog -> options in it.
GROUPS = {
    "Model": ("free", "set", "shape"),
    "Comparison": ("background", "scale", "weights", "loss", "model_error"),
    "Measurement": ("instrument", "chopper", "frequency", "ei", "lattice"),
    "Calculation": (
        "resolution",
        "width_factor",
        "sample",
        "mosaic",
        "points",
        "starts",
        "spread",
        "smoothing",
        "tolerance",
        "corrections",
        "profile",
        "profile_by",
        "seed",
    ),
}
#: Tooltips of properties that are filled otherwise than options of the command line.
TOOLTIPS = {
    "free": "Parameters to fit, separated by commas; those that the model lets vary if not given.",
    "set": "Start values of parameters, separated by commas, such as J=29, Jp=2; the others have those of the file.",
    "resolution": "How the model is seen: covariance, interpolated, montecarlo, energy or none.",
    "weights": "Errors of the data; poisson for counts, from what the fit expects; or equal.",
    "loss": "Squares (linear), or huber, which counts far bins less.",
    "profile": "Parameters, separated by commas, whose 68 % interval is searched with the others fitted again.",
    "background": "One of none, constant, per-energy, slope, q-squared or elastic-tail, or several with commas; "
    "constant if not given.",
}
#: Kind, name and plot type (2: y, 5: its error) of the columns of the table of parameters.
COLUMNS = (
    ("str", "Name"),
    ("double", "Value", 2),
    ("double", "Error", 5),
    ("double", "StatisticalError"),
    ("double", "MisfitTolerance"),
    ("double", "Start"),
    ("double", "Minimum"),
    ("double", "Maximum"),
    ("double", "IntervalLow"),
    ("double", "IntervalHigh"),
    ("str", "Kind"),
)
#: Evaluations at which the progress bar is half way: how many a fit needs is not known before.
HALF_WAY = 60


class FitSpinWModel(PythonAlgorithm):
    """Fits the free parameters of a model of S(Q,E) to measurements, through the resolution."""

    def category(self):
        return "MDAlgorithms\\Transforms;Inelastic\\Corrections"

    def summary(self):
        return "Fits the free parameters of a model of S(Q,E) to measured data, through the resolution."

    def seeAlso(self):
        return ["SimulateSpinWModel", "ApplyResolutionGAN", "GroupWorkspaces", "MaskMD"]

    def helpURL(self):
        return help_url(self)

    def version(self):
        return 1

    def checkGroups(self):
        return False  # a group is fitted at once, and not member by member

    def PyInit(self):
        self.declareProperty(
            WorkspaceProperty("InputWorkspace", "", Direction.Input),
            doc="Measured histogram (MDHistoWorkspace), or a group of them that are fitted at once.",
        )
        self.declareProperty(
            FileProperty("ModelFile", "", FileAction.Load, [".yaml", ".yml"]), doc="Model of S(Q,E) in YAML."
        )
        choices = {
            "instrument": ["", *instrument_names()],
            "resolution": FITTED_BY,
            "shape": LINE_SHAPES,
            "scale": SCALES,
            "weights": WEIGHTS,
            "loss": LOSSES,
            "profile_by": PROFILED_BY,
        }
        for group, names in GROUPS.items():
            for name in names:
                declare_option(self, name, FitOptions, choices=choices.get(name), text=TOOLTIPS.get(name))
                self.setPropertyGroup(option(name, FitOptions)["property"], group)
        self._declare_results()
        set_rules(self)

    def _declare_results(self):
        self.declareProperty(
            ITableWorkspaceProperty("OutputParameters", "", Direction.Output),
            doc="Table for the parameters with their values and errors.",
        )
        self.declareProperty(
            ITableWorkspaceProperty("OutputCorrelations", "", Direction.Output, PropertyMode.Optional),
            doc="Table for the correlation coefficients of the fitted parameters.",
        )
        for name, what in (
            ("OutputFitted", "the fit, scaled model and background"),
            ("OutputResidual", "the residual in standard errors, data less fit"),
        ):
            self.declareProperty(
                WorkspaceProperty(name, "", Direction.Output, PropertyMode.Optional),
                doc=f"Workspace for {what}; a group for several data.",
            )
        for name in ("OutputParameters", "OutputCorrelations", "OutputFitted", "OutputResidual"):
            self.setPropertyGroup(name, "Result")
        nothing = float("nan")
        for name, default, doc in (
            ("OutputStatus", "", "Whether the fit converged, did not, or was stopped."),
            ("ReducedChiSquared", nothing, "Chi-squared per degree of freedom."),
            ("DegreesOfFreedom", 0, "Number of fitted bins less that of the numbers found."),
            ("Evaluations", 0, "Number of comparisons of model and data."),
        ):
            self.declareProperty(name=name, defaultValue=default, doc=doc, direction=Direction.Output)

    # -- what is not right

    def validateInputs(self):
        try:
            return self._problems()
        except ImportError as error:
            return {"ModelFile": missing_library(error, "spinw,fit")}

    def _problems(self):
        """Property -> what is wrong with it. Mantid also asks while the dialog is half filled."""
        from mantid_insgan.fit.background import BACKGROUNDS
        from mantid_insgan.fit.form import changed
        from mantid_insgan.models.definition import read_model

        options, file = self._options(), self.getProperty("ModelFile").value
        unknown = [kind for kind in options.background if kind not in BACKGROUNDS]
        if unknown:
            return {"Background": f"unknown background {unknown[0]!r}. Fix: use some of {', '.join(BACKGROUNDS)}."}
        if self.getProperty("InputWorkspace").value is None or not file:
            return {}
        where = "ModelFile"
        try:
            definition = read_model(file)
            where = "StartValues"
            definition = changed(definition, parse_settings(options.set), ())
            where = "FreeParameters"
            if not changed(definition, {}, options.free).free:
                raise InputError(f"no parameter of the model {definition.name!r} is free", "name those to fit")
        except InsganError as error:
            return {where: in_mantid(str(error), FitOptions)}
        return self._problems_of_data(definition, options)

    def _problems_of_data(self, definition, options):
        from mantid_insgan.fit.job import fit_data
        from mantid_insgan.mantid_support.workspace import read_outline

        try:
            outlines = {workspace.name(): read_outline(workspace) for workspace in self._workspaces()}
            problems = self._problems_of_facts(outlines, options)
            if not problems:
                fit_data(definition, outlines, options)
            return problems
        except InsganError as error:
            return told_under(error, FitOptions, "InputWorkspace")

    def _problems_of_facts(self, outlines, options):
        from mantid_insgan.translate.inspect import missing_facts

        problems = {}
        for title, spectrum in outlines.items():
            lacking = missing_facts(options.run(spectrum.run), spectrum.axes)
            for name in (n for n in lacking if n != "lattice"):  # which the model has
                about = option(name, FitOptions)
                text = f"{title} does not contain it. Fix: give it. {about['help']}"
                problems.setdefault(about["property"], text)
        return problems

    # -- the work

    def PyExec(self):
        try:
            self._execute()
        except InsganError as error:
            raise RuntimeError(in_mantid(str(error), FitOptions)) from error
        except ImportError as error:
            raise RuntimeError(missing_library(error, "spinw,fit")) from error

    def _execute(self):
        from mantid_insgan.fit.job import fit_spectra
        from mantid_insgan.mantid_support.workspace import read_workspace
        from mantid_insgan.models.definition import read_model

        report = Reports(self)
        report(0.0, "Reading model and workspaces")
        workspaces = self._workspaces()
        spectra = {workspace.name(): read_workspace(workspace) for workspace in workspaces}
        report(0.0, "Preparing the resolution")

        def tell(count, chi_squared, values):
            best = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            report(count / (count + HALF_WAY), f"{count} evaluations, best chi-squared {chi_squared:.5g}: {best}")

        # A cancelled algorithm raises KeyboardInterrupt from the report: the fit then gives the best so far, and
        # nothing may be reported after that.
        with warnings_in_log(self, FitOptions):
            definition = read_model(self.getProperty("ModelFile").value)
            result = fit_spectra(definition, spectra, self._options(), progress=tell)
        self._tell(result)
        self._put(result, workspaces, list(spectra.values()))

    def _workspaces(self):
        """The histograms of the input, in their order.

        Raises
        ------
        InputError
            If one is another kind of workspace, or there is none.
        """
        given = self.getProperty("InputWorkspace").value
        count = given.getNumberOfEntries() if hasattr(given, "getNumberOfEntries") else None
        found = [given] if count is None else [given.getItem(i) for i in range(count)]
        wrong = [workspace for workspace in found if not hasattr(workspace, "getErrorSquaredArray")]
        if wrong or not found:
            kind = f"{wrong[0].name()!r} is a {wrong[0].id()}" if wrong else f"the group {given.name()!r} is empty"
            raise InputError(f"{kind}, expected an MDHistoWorkspace", "bin events first (BinMD or MDNorm)")
        return found

    def _tell(self, result):
        """What was found, into the log and the outputs that are numbers."""
        log, search = self.log(), result.search
        for name in result.errors.names:
            error = result.errors.scaled[result.errors.names.index(name)]
            log.notice(f"{name}: {result.values[name]:.6g} +- {error:.2g}")
        for data in result.as_dict()["datasets"]:
            log.notice(f"Scale of {data['name']}: {data['scale']:.5g}, {data['bins']} bins")
        for note in result.notes:
            log.warning(in_mantid(note, FitOptions))
        status = "stopped" if search.stopped else "converged" if search.minima[0].converged else "not converged"
        self.setProperty("OutputStatus", status)
        self.setProperty("ReducedChiSquared", float(result.reduced_chi_squared))
        self.setProperty("DegreesOfFreedom", int(result.degrees_of_freedom))
        self.setProperty("Evaluations", int(search.evaluations))

    def _put(self, result, workspaces, spectra):
        """The tables and workspaces that were asked for."""
        from mantid_insgan.mantid_support.workspace import to_table, to_workspace_like

        self.setProperty("OutputParameters", to_table(COLUMNS, map(_row, result.rows())))
        if self._given("OutputCorrelations"):
            names = result.errors.names
            columns = [("str", "Name"), *(("double", name, 2) for name in names)]
            rows = zip(names, result.errors.correlation, strict=True)
            self.setProperty("OutputCorrelations", to_table(columns, ([n, *map(float, row)] for n, row in rows)))
        if not (self._given("OutputFitted") or self._given("OutputResidual")):
            return
        for name, found in zip(("OutputFitted", "OutputResidual"), zip(*result.spectra(), strict=True), strict=True):
            if self._given(name):
                made = [
                    to_workspace_like(spectrum, workspace, given.num_events)
                    for spectrum, workspace, given in zip(found, workspaces, spectra, strict=True)
                ]
                self.setProperty(name, made[0] if len(made) == 1 else _group(made))

    def _given(self, name):
        return bool(self.getPropertyValue(name))

    def _options(self):
        return options_of(self, GROUPS, FitOptions)


def _row(row):
    """A row of the table of parameters; what there is no number for is NaN."""
    numbers = [row[name] for name in ("value", "scaled", "statistical", "misfit", "start", "low", "high")]
    numbers += row["interval"] or (None, None)
    kind = "free" if row["free"] else f"tied: {row['tie']}" if row["tie"] else "fixed"
    return [row["name"], *(float("nan") if x is None else float(x) for x in numbers), kind]


def _group(workspaces):
    """A group of workspaces without names: Mantid gives them the name of the group with numbers."""
    group = WorkspaceGroup()
    for workspace in workspaces:
        group.addWorkspace(workspace)
    return group


AlgorithmFactory.subscribe(FitSpinWModel)
