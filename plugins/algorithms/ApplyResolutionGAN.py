"""Adds the resolution to an MDHistoWorkspace in Mantid, or removes it.

Mantid executes this file at start-up under its bare name, so it imports nothing that takes time; everything else is
imported when the algorithm runs.
"""

from mantid.api import (
    AlgorithmFactory,
    FileAction,
    FileProperty,
    IMDHistoWorkspaceProperty,
    PropertyMode,
    PythonAlgorithm,
    WorkspaceGroupProperty,
)
from mantid.kernel import Direction

from mantid_insgan.bundled import instrument_names, model_names, models_folder
from mantid_insgan.core.options import (
    BUNDLED_HELP,
    MODEL_FILE_HELP,
    ApplyOptions,
    binning_of,
    check_target,
    in_mantid,
    option,
    parse_lattice,
    properties_named,
)
from mantid_insgan.errors import DeviceError, InputError, InsganError, RunFactError
from mantid_insgan.mantid_support.properties import (
    Reports,
    declare_option,
    help_url,
    missing_library,
    option_value,
    set_rules,
)

#: Group of the dialog -> options in it.
GROUPS = {
    "Model": ("direction", "model"),
    "Target": ("sharpen", "to"),
    "Measurement": ("instrument", "chopper", "frequency", "ei", "lattice"),
    "Range": ("energy_range", "q_range"),
    "Calculation": ("width_factor", "sample", "mosaic", "device", "out_of_domain"),
}

#: Of the property for a report.
REPORT_HELP = "Report on the result to write, an HTML page with its figures inside or a PDF."

#: Of the property for the ends of the intervals.
INTERVALS_HELP = (
    "Group for four workspaces with the ends of the 95 % and the 68 % interval of each bin of the result: lower_95, "
    "lower_68, upper_68 and upper_95 after the name of the group and an underscore."
)

#: Output property -> (name in the report's summary, meaning).
QUALITY = {
    "ValidBins": ("valid_bins", "Number of valid bins, to which the model was applied."),
    "FluxRatio": ("flux_ratio", "Sum of the output signal over the valid bins divided by that of the input."),
    "ReducedChiSquared": (
        "reduced_chi_squared_of_reconvolution",
        "Chi-squared per bin of the re-convolved result against the data, over what is expected of spectra like the "
        "training data if the model says so, otherwise over the errors of the data (RemoveResolution).",
    ),
    "TooWideShare": (
        "share_of_bins_with_resolution_too_wide",
        "Fraction of the valid bins whose resolution is wider than the model can apply.",
    ),
    "TrainingDistance": (
        "median_distance_from_training",
        "Median distance from the training data, in units of the threshold that 1 % of held-out spectra exceed.",
    ),
    "OutsideShare": ("share_of_slices_outside_training", "Fraction of the slices above that threshold."),
    "DomainPValue": (
        "p_value_of_domain",
        "Share of held-out spectra like the training data, with errors as large, that are at least as unusual as these "
        "data; NaN for a model that does not tell.",
    ),
}


class ApplyResolutionGAN(PythonAlgorithm):
    """Adds the resolution of a spectrometer to a simulation, or removes it from data."""

    def category(self):
        return "MDAlgorithms\\Transforms;Inelastic\\Corrections"

    def summary(self):
        return "Adds the resolution of a neutron spectrometer to a simulated S(Q,E), or removes it from a measured one."

    def seeAlso(self):
        return ["MDNorm", "BinMD", "LoadMD", "SaveMD"]

    def helpURL(self):
        return help_url(self)

    def version(self):
        return 1

    def PyInit(self):
        self.declareProperty(
            IMDHistoWorkspaceProperty("InputWorkspace", "", Direction.Input),
            doc="MDHistoWorkspace with an energy axis, or a group of them, which are processed one by one.",
        )
        self.declareProperty(
            IMDHistoWorkspaceProperty("OutputWorkspace", "", Direction.Output),
            doc="Clone of the input with the corrected signal and errors.",
        )
        for group, names in GROUPS.items():
            for name in names:
                self._declare(name)
                self.setPropertyGroup(option(name)["property"], group)
            if "model" in names:
                self._declare_model_file()
                self.setPropertyGroup("ModelFile", group)
        self._declare_quality()
        set_rules(self)

    def _declare(self, name):
        choices = {"model": model_names(models_folder()), "instrument": instrument_names()}.get(name)
        text = BUNDLED_HELP if name == "model" else None
        declare_option(self, name, choices=None if choices is None else ["", *choices], text=text)

    def _declare_model_file(self):
        self.declareProperty(FileProperty("ModelFile", "", FileAction.OptionalLoad, [".onnx"]), doc=MODEL_FILE_HELP)

    def _declare_quality(self):
        self.declareProperty(
            IMDHistoWorkspaceProperty("OutputQuality", "", Direction.Output, PropertyMode.Optional),
            doc="Workspace for the standard error of each bin of the result.",
        )
        self.setPropertyGroup("OutputQuality", "Quality")
        ends = WorkspaceGroupProperty("OutputIntervals", "", Direction.Output, PropertyMode.Optional)
        self.declareProperty(ends, doc=INTERVALS_HELP)
        self.setPropertyGroup("OutputIntervals", "Quality")
        report = FileProperty("OutputReport", "", FileAction.OptionalSave, [".html", ".pdf"])
        self.declareProperty(report, doc=REPORT_HELP)
        self.setPropertyGroup("OutputReport", "Quality")
        for name, (_, doc) in QUALITY.items():
            default = 0 if name == "ValidBins" else float("nan")
            self.declareProperty(name=name, defaultValue=default, doc=doc, direction=Direction.Output)

    def validateInputs(self):
        try:
            return {name: in_mantid(text) for name, text in self._problems().items()}
        except ImportError as error:
            return {"Device": missing_library(error)}

    def _problems(self):
        """Property -> the problem with it. Mantid also calls this while the dialog is only partly filled."""
        problems = self._problems_of_model() | self._problems_of_device() | self._problems_of_report()
        try:
            parse_lattice(option_value(self, "lattice"))
        except RunFactError as error:
            problems["Lattice"] = str(error)
        try:
            check_target(self._options())
        except RunFactError as error:
            problems["TargetSetting" if self._given("TargetSetting") else "Sharpen"] = str(error)
        try:
            binning_of(self._options())
        except InputError as error:
            return problems | {properties_named(str(error))[0]: str(error)}
        workspace = self.getProperty("InputWorkspace").value
        if workspace is not None and "Lattice" not in problems:
            problems |= self._problems_of_data(workspace)
        return problems

    def _problems_of_model(self):
        from mantid_insgan.translate.cards import model_for, require_intervals

        if self._given("Model") and self._given("ModelFile"):
            return {"ModelFile": "Model and ModelFile are both given. Fix: clear one of them."}
        options = self._options()
        try:
            model = model_for(options.direction, self._open_axes(), options.model)
        except InsganError as error:
            return {"ModelFile" if self._given("ModelFile") else "Model": str(error)}
        try:
            if options.intervals and options.to is None:  # with another setting there are none at all
                require_intervals(model.card)
        except InsganError as error:
            return {"OutputIntervals": str(error)}
        return {}

    def _problems_of_device(self):
        from mantid_insgan.translate.session import available_cuda

        try:
            if self._options().device == "cuda":  # the others are always available
                available_cuda("cuda")
        except DeviceError as error:
            return {"Device": str(error)}
        return {}

    def _problems_of_report(self):
        from mantid_insgan.report import check_report

        try:
            if self._given("OutputReport"):
                check_report(self.getProperty("OutputReport").value, overwrite=True)
        except InsganError as error:
            return {"OutputReport": str(error)}
        return {}

    def _open_axes(self):
        """Number of dimensions of the input with more than one bin; None where there is no input yet."""
        workspace = self.getProperty("InputWorkspace").value
        return None if workspace is None else len(workspace.getNonIntegratedDimensions())

    def _problems_of_data(self, workspace):
        from mantid_insgan.core.merging import only_within
        from mantid_insgan.core.slices import require_network_axes, require_valid
        from mantid_insgan.instruments import Resolution
        from mantid_insgan.mantid_support.workspace import read_outline
        from mantid_insgan.translate.inspect import missing_facts

        options = self._options()
        problems = {}
        try:
            spectrum = read_outline(workspace)
            require_network_axes(spectrum.axes)
            require_valid(spectrum)
            spectrum = only_within(spectrum, **binning_of(options))
            run = options.run(spectrum.run)
            for name in missing_facts(run, spectrum.axes):
                about = option(name)
                problems[about["property"]] = f"it is not in the data. Fix: give it. {about['help']}"
            Resolution.of_spectrometer(run, **options.of_resolution()).frame(spectrum)
        except InputError as error:
            named = (*properties_named(str(error)), "InputWorkspace")
            problems[next(n for n in named if n in ("EnergyRange", "QRange", "Sample", "InputWorkspace"))] = str(error)
        except RunFactError as error:
            problems[next(iter(properties_named(error.fix)), "InputWorkspace")] = str(error)
        return problems

    def PyExec(self):
        try:
            self._execute()
        except InsganError as error:
            raise RuntimeError(in_mantid(str(error))) from error
        except ImportError as error:
            raise RuntimeError(missing_library(error)) from error

    def _execute(self):
        from mantid_insgan.core.merging import only_within
        from mantid_insgan.mantid_support.workspace import read_workspace, to_workspace
        from mantid_insgan.translate.job import apply

        workspace, options = self.getProperty("InputWorkspace").value, self._options()
        report_progress = Reports(self)
        report_progress(0.0, "Reading the workspace")
        # the output is a clone: its dimensions stay, and bins outside the ranges are empty
        spectrum = only_within(read_workspace(workspace), **binning_of(options))
        options = options.updated(energy_range=None, q_range=None)
        result, report = apply(
            spectrum,
            options,
            progress=lambda share: report_progress(share, "Translating slices"),
        )
        self._tell(report)
        self.setProperty("OutputWorkspace", to_workspace(result, template=workspace))
        if self._given("OutputQuality"):
            errors = result.replace(signal=result.variance**0.5, variance=result.variance * 0.0)
            self.setProperty("OutputQuality", to_workspace(errors, template=workspace))
        if self._given("OutputIntervals"):
            self.setProperty("OutputIntervals", self._intervals(result, workspace))
        if self._given("OutputReport"):
            self._write_report(spectrum, result, options)

    def _intervals(self, result, template):
        """The group of the ends; its members are in the data service."""
        from mantid_insgan.mantid_support.workspace import to_group
        from mantid_insgan.translate.trust import ends_of

        group = self.getPropertyValue("OutputIntervals")
        found = {f"{group}_{end.removesuffix(' %').replace(' ', '_')}": part for end, part in ends_of(result).items()}
        return to_group(found, template)

    def _write_report(self, spectrum, result, options):
        from mantid_insgan.report import evidence_in_memory, write_report

        names = (self.getPropertyValue("InputWorkspace"), self.getPropertyValue("OutputWorkspace"))
        evidence = evidence_in_memory(spectrum, result, options, names)
        write_report(evidence, self.getProperty("OutputReport").value, overwrite=True)

    def _tell(self, report):
        """Write the facts used and the quality of the result to the log and the output properties."""
        summary = report.summary()
        log = self.log()
        log.notice(f"Model: {summary['model']}")
        for name, fact in summary["run"].items():
            log.notice(f"{option(name)['property']}: {fact['value']} ({in_mantid(fact['source'])})")
        log.notice(f"Resolution of the result: {report.resolution.described()}")
        for note in summary["notes"]:
            log.warning(in_mantid(note))
        for name, (key, _) in QUALITY.items():
            if summary[key] is not None:
                self.setProperty(name, summary[key])

    def _given(self, name):
        return bool(self.getPropertyValue(name))

    def _options(self):
        values = {name: option_value(self, name) for names in GROUPS.values() for name in names}
        if self._given("ModelFile"):
            values["model"] = self.getProperty("ModelFile").value
        return ApplyOptions(**values, intervals=self._given("OutputIntervals"))


AlgorithmFactory.subscribe(ApplyResolutionGAN)
