"""Training in Mantid: a model from groups of simulated and measured MDHistoWorkspaces, from files, or from both.

Mantid executes this file at start-up under its bare name, so it imports nothing that takes time; everything else is
imported when the algorithm runs.
"""

import csv
from functools import partial
from pathlib import Path

from mantid.api import (
    AlgorithmFactory,
    FileAction,
    FileProperty,
    ITableWorkspaceProperty,
    MultipleFileProperty,
    PropertyMode,
    PythonAlgorithm,
    WorkspaceGroupProperty,
)
from mantid.kernel import Direction

from mantid_insgan.bundled import instrument_names
from mantid_insgan.core.options import (
    BUNDLED,
    OUTPUT_MODEL_HELP,
    OVERWRITE_HELP,
    TrainOptions,
    in_mantid,
    option,
    option_of,
    parse_lattice,
    properties_named,
)
from mantid_insgan.errors import InputError, InsganError, RunFactError
from mantid_insgan.mantid_support.properties import (
    Reports,
    declare_option,
    file_names,
    help_url,
    missing_library,
    option_value,
    set_rules,
    warnings_in_log,
)

#: Options that are groups of workspaces -> (contents of a group, whether files may be given in addition).
SPECTRA = {
    "simulation": ("simulated spectra", True),
    "experiment": ("measured spectra", True),
    "validation_simulation": ("simulated spectra held out of training to score the model", False),
    "validation_experiment": ("measured spectra held out of training to score the model", False),
}

#: Group of the dialog -> options in it.
GROUPS = {
    "Data": (
        "simulation",
        "simulation_convolved",
        "experiment",
        "paired",
        "pairs",
        "validation_simulation",
        "validation_experiment",
    ),
    "Model": ("direction", "warm_start"),
    "Training": (
        "minutes",
        "epochs",
        "steps",
        "batch",
        "learning_rate",
        "seed",
        "device",
        "precision",
        "tensorboard",
        "resume",
    ),
    "Measurement": ("instrument", "chopper", "frequency", "ei", "lattice", "width_factor", "sample", "mosaic"),
}


def named(name):
    """The property of an option."""
    return option(name, TrainOptions)["property"]


class TrainResolutionGAN(PythonAlgorithm):
    """Trains a model that adds or removes the resolution, or makes simulation and experiment look alike."""

    def category(self):
        return "MDAlgorithms\\Transforms;Inelastic\\Corrections"

    def summary(self):
        return "Trains a model for ApplyResolutionGAN on simulated and measured spectra."

    def seeAlso(self):
        return ["ApplyResolutionGAN", "GroupWorkspaces", "LoadMD", "BinMD"]

    def helpURL(self):
        return help_url(self)

    def version(self):
        return 1

    def PyInit(self):
        self._sides = None  # spectra that validateInputs has read and PyExec trains on
        self.declareProperty(FileProperty("OutputModel", "", FileAction.Save, [".onnx"]), doc=OUTPUT_MODEL_HELP)
        self.declareProperty(name="Overwrite", defaultValue=False, doc=OVERWRITE_HELP)
        for group, names in GROUPS.items():
            for name in names:
                for declared in self._declare(name):
                    self.setPropertyGroup(declared, group)
        self._declare_results()
        set_rules(self)

    def _declare(self, name):
        """Declare the properties of an option and give their names."""
        if name in SPECTRA:
            return self._declare_spectra(name)
        if name in ("pairs", "resume", "tensorboard"):
            folder = FileProperty(named(name), "", FileAction.OptionalDirectory)
            self.declareProperty(folder, doc=option(name, TrainOptions)["help"])
        else:
            declare_option(
                self, name, TrainOptions, choices=["", *instrument_names()] if name == "instrument" else None
            )
        return [named(name)]

    def _declare_spectra(self, name):
        what, files = SPECTRA[name]
        group = WorkspaceGroupProperty(named(name), "", Direction.Input, PropertyMode.Optional)
        self.declareProperty(group, doc=f"Group of {what} (MDHistoWorkspaces).")
        if not files:
            return [named(name)]
        several = MultipleFileProperty(named(name) + "Files", FileAction.OptionalLoad, [".nxs", ".nxspe"])
        self.declareProperty(several, doc=f"Files of {what}, in addition to the group or instead of it.")
        return [named(name), named(name) + "Files"]

    def _declare_results(self):
        self.declareProperty(
            ITableWorkspaceProperty("LossHistory", "", Direction.Output, PropertyMode.Optional),
            doc="Table of the losses at each step.",
        )
        self.setPropertyGroup("LossHistory", "Result")
        steps, minutes = "Number of steps, including those before a resume.", "Duration of the steps, in minutes."
        self.declareProperty(name="StepsDone", defaultValue=0, doc=steps, direction=Direction.Output)
        self.declareProperty(name="MinutesDone", defaultValue=0.0, doc=minutes, direction=Direction.Output)

    # -- validation

    def validateInputs(self):
        self._sides = None
        try:
            problems = self._problems() or self._problems_of_checkpoint()
            return {name: in_mantid(text) for name, text in problems.items()}
        except ImportError as error:
            return {"Device": missing_library(error, "train")}

    def _problems(self):
        """Property -> the problem with it."""
        from mantid_insgan.learn.sources import check_device, check_given, check_target

        options, problems = self._options(), {}
        if self._given("OutputModel"):
            _note(problems, "OutputModel", check_target, options, self._output(), self.getProperty("Overwrite").value)
        _note(problems, "Device", check_device, options.device)
        _note(problems, "Lattice", parse_lattice, options.lattice)
        try:
            check_given(options.simulation, options.experiment, options.pairs is not None)
        except InputError as error:
            return problems | {properties_named(error.reason)[0]: str(error)}
        if options.pairs is not None:
            return problems | self._problems_of_pairs(options)
        return problems if "Lattice" in problems else problems | self._problems_of_spectra(options)

    def _problems_of_pairs(self, options):
        from mantid_insgan.learn.pairs.shards import read_index

        problems = {}
        index = _note(problems, "Pairs", read_index, Path(options.pairs))
        if index is not None:
            problems |= _problems_of_start(options, index["recipe"]["dimensions"])
        return problems

    def _problems_of_checkpoint(self):
        """Problems of an existing checkpoint; torch is imported only if there is one."""
        from mantid_insgan.learn.sources import resume_folder

        options, problems = self._options(), {}
        if self._given("OutputModel") and any(resume_folder(options, self._output()).glob("*.safetensors")):
            from mantid_insgan.learn.train_job import check_resume

            _note(problems, "Resume", check_resume, options, self._output(), self._sides)
        return problems

    def _problems_of_spectra(self, options):
        from mantid_insgan.learn.sources import SIDES, VALIDATION, check_sides

        problems = {}
        sides = {flag: self._sources(option_of(flag), options, problems) for flag in (*SIDES, *VALIDATION)}
        if problems:
            return problems
        try:
            dimensions = check_sides(sides, options.paired)
        except InputError as error:
            return {next(iter(properties_named(error.reason)), "Experiment"): str(error)}
        self._sides = sides
        return _problems_of_start(options, dimensions)

    def _sources(self, name, options, problems):
        """The spectra of a property and of its files that have no problems."""
        from mantid_insgan.learn.sources import source_of
        from mantid_insgan.translate.inspect import missing_facts

        found = []
        for where, title, read in self._spectra(name):
            try:
                spectrum = read()
                lacking = missing_facts(options.run(spectrum.run), spectrum.axes)
                for fact in lacking:
                    text = f"it is not in {title}. Fix: give it. {option(fact, TrainOptions)['help']}"
                    problems.setdefault(named(fact), text)
                if not lacking:
                    found.append(source_of(title, spectrum, options))
            except InputError as error:
                problems.setdefault(where, str(error))
            except RunFactError as error:
                problems.setdefault(next(iter(properties_named(error.fix)), where), str(error))
        return found

    def _spectra(self, name):
        """(property, name, function that reads it) of each spectrum of an option."""
        from mantid_insgan.io import read_spectrum
        from mantid_insgan.mantid_support.workspace import read_workspace

        group = self.getProperty(named(name)).value
        for i in range(0 if group is None else group.getNumberOfEntries()):
            workspace = group.getItem(i)
            yield named(name), workspace.name(), lambda workspace=workspace: read_workspace(workspace)
        for file in self._files(name):
            ei = option_value(self, "ei", TrainOptions)
            yield named(name) + "Files", Path(file).name, lambda file=file, ei=ei: read_spectrum(file, ei=ei)

    # -- the work

    def PyExec(self):
        try:
            self._execute()
        except InsganError as error:
            raise RuntimeError(in_mantid(str(error))) from error
        except ImportError as error:
            raise RuntimeError(missing_library(error, "train")) from error

    def _execute(self):
        from mantid_insgan.learn.train_job import train_model

        options, sides = self._options(), self._sides
        self._sides = None
        report_progress = Reports(self)
        with warnings_in_log(self):
            trained = train_model(
                options,
                self._output(),
                overwrite=self.getProperty("Overwrite").value,
                progress=lambda share, step, terms: report_progress(share, _said(step, terms)),
                sides=sides,
            )
        self._tell(trained)

    def _tell(self, trained):
        log = self.log()
        log.notice(f"Model: {trained.model}, after {trained.steps} steps in {trained.minutes} minutes")
        for note in trained.notes:
            log.warning(in_mantid(note))
        log.notice(f"Also written: {trained.curves.name}, {trained.picture.name}; checkpoint: {trained.checkpoint}")
        self.setProperty("StepsDone", int(trained.steps))
        self.setProperty("MinutesDone", float(trained.minutes))
        if self._given("LossHistory"):
            self.setProperty("LossHistory", self._table(trained.losses))

    def _table(self, losses):
        """The table of a CSV file of losses; its first column is the abscissa of plots."""
        from mantid_insgan.mantid_support.workspace import to_table

        with open(losses, newline="", encoding="utf-8") as stream:
            names, *rows = csv.reader(stream)
        columns = [("int", names[0], 1), *(("double", name, 2) for name in names[1:])]
        return to_table(columns, ([int(step), *map(float, values)] for step, *values in rows))

    # -- properties as options

    def _given(self, name):
        return bool(self.getPropertyValue(name))

    def _output(self):
        return Path(self.getProperty("OutputModel").value)

    def _files(self, name):
        return file_names(self.getProperty(named(name) + "Files").value) if SPECTRA[name][1] else []

    def _options(self):
        names = [name for group in GROUPS.values() for name in group]
        values = {name: option_value(self, name, TrainOptions) for name in names if name not in SPECTRA}
        for name in SPECTRA:
            group = self.getProperty(named(name)).value
            values[name] = (*(() if group is None else group.getNames()), *self._files(name))
        values["warm_start"] = values["warm_start"] or BUNDLED
        return TrainOptions(**values)


def _note(problems, name, check, *arguments):
    """The result of a check; an error is noted under a property instead."""
    try:
        return check(*arguments)
    except InsganError as error:
        problems[name] = str(error)
        return None


def _problems_of_start(options, dimensions):
    """Problems with the model to start from."""
    from mantid_insgan.translate.cards import choose_model

    problems = {}
    if options.warm_start not in (BUNDLED, "none"):
        chosen = partial(choose_model, any_purpose=True)
        _note(problems, "WarmStart", chosen, options.direction, dimensions, options.warm_start)
    return problems


def _said(step, terms):
    return f"Step {step}: " + ", ".join(f"{name} {value:.3g}" for name, value in terms.items())


AlgorithmFactory.subscribe(TrainResolutionGAN)
