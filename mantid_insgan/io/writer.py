"""Writing an MDHistoWorkspace file for LoadMD: completely or not at all, with the other contents of its template.

LoadMD requires strings of fixed length, float64 data and int8 mask with the shape reversed, ``axes`` naming the edge
datasets with the slowest dimension first, and ``SaveMDVersion`` 2. As in SaveMD, data are compressed with gzip 6 in
chunks that span all dimensions except the slowest.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

import h5py
import numpy as np

from ..core.files import check_output, read_only, replacing
from ..core.run import Run
from ..core.spectrum import Axis, Spectrum
from ..errors import InputError, OutputError
from .facts import experiment_groups, logs_of_run, own_logs
from .geometry import shape_xml
from .hdf5 import fixed, open_hdf5, reading, text
from .history import NORMALISED
from .region import normal_region

ENTRY = "MDHistoWorkspace"

#: dataset -> (field of Spectrum, type in the file, value of bins that are never written)
DATASETS = {
    "signal": ("signal", np.float64, np.nan),
    "errors_squared": ("variance", np.float64, np.nan),
    "num_events": ("num_events", np.float64, 0.0),
    "mask": ("masked", np.int8, 0),
}

#: Contents that the writer makes itself and does not copy from a template ('data' and the rest of layout v1).
_OWN = {"data", "dimensions", "coordinate_system", "visual_normalization", *DATASETS}
_OWN_ATTRIBUTES = re.compile(r"NX_class|QConvention|SaveMDVersion|dimension\d+")
#: Kinds of files with other contents, by the suffix of their names.
OTHER_KINDS = {".nxspe": "an nxspe file", ".spe": "an spe file", ".sqw": "a Horace file", ".onnx": "a model"}
_TRANSFORMS = {"transform_to_orig", "transform_from_orig"}

_PARAMETER_MAP_HELP = (
    "A string representation of the parameter map. The format is either: "
    "|detID:id-value;param-type;param-name;param-value| for a detector or  "
    "|comp-name;param-type;param-name;param-value| for other components."
)


class SpectrumWriter:
    """A file that appears under its name only when it is complete.

    The data are written to a temporary file in the same folder, which gets the final name when the ``with`` block ends
    normally and is deleted when it ends by any exception, including KeyboardInterrupt.

    Parameters
    ----------
    path : str or Path
    source : SpectrumFile or Spectrum
        Source of the axes, run and conventions.
    template : str or Path, optional
        An MDHistoWorkspace file whose other groups (experiments, process history, transforms) are kept. Transforms
        are omitted if the numbers of dimensions differ.
    overwrite : bool
        Whether an existing file may be replaced.
    history : dict, optional
        Record of what was done: ``name``, ``version`` (an integer for an algorithm), ``parameters`` (dict),
        ``duration`` in seconds, and any other JSON values. It becomes an entry of Mantid's history.
    title : str, optional
        Of the run; that of the template, or of the source, if not given.

    Raises
    ------
    OutputError
        As `check_output`, if the name is that of another kind of file, and if writing fails (disk full).

    Examples
    --------
    >>> with SpectrumFile("in.nxs") as source:                                          # doctest: +SKIP
    ...     with SpectrumWriter("out.nxs", source, template=source.path) as writer:
    ...         writer.write(region, corrected)
    """

    def __init__(
        self,
        path: str | Path,
        source,
        *,
        template: str | Path | None = None,
        overwrite: bool = False,
        history: dict | None = None,
        title: str | None = None,
    ):
        check_output(path, overwrite)
        self.path = Path(path)
        if self.path.suffix.lower() in OTHER_KINDS:
            raise OutputError(
                f"the output {path} has the name of {OTHER_KINDS[self.path.suffix.lower()]}, and what is written is "
                "an MDHistoWorkspace file",
                f"name it {self.path.with_suffix('.nxs').name}",
            )
        self._source = source
        self._template = template
        self._overwrite = overwrite
        self._history = history
        self._title = title
        self._file: h5py.File | None = None
        self._stage: h5py.File | None = None
        self._whole = contextlib.ExitStack()  # of the temporary file, which is renamed or deleted when it closes

    def __enter__(self) -> SpectrumWriter:
        self._temporary = self._whole.enter_context(replacing(self.path))
        try:
            self._file = self._create(self._temporary)
            self._write_skeleton(self._file)
        except BaseException as problem:
            self._discard(problem)
            self._explain(problem)
            raise
        return self

    def write(self, region: tuple[slice, ...] | None, spectrum: Spectrum) -> None:
        """Write the bins of a region (as in `SpectrumFile.read`; everything if None).

        Bins that are not valid although their values look like a measurement are written as NaN.

        Raises
        ------
        OutputError
            If the shapes of spectrum and region differ, or the disk is full.
        """
        shape = self._source.shape
        region = normal_region(region, shape)
        expected = tuple(s.stop - s.start for s in region)
        if spectrum.shape != expected:
            raise OutputError(
                f"a spectrum of {spectrum.shape} bins was given for a region of {expected} bins",
                "give a spectrum with the shape of the region",
            )
        try:
            target = self._data if expected == shape else self._staged()
            for name, values in stored_arrays(spectrum).items():
                target[name][region[::-1]] = values.T.astype(DATASETS[name][1], copy=False)
        except (OSError, RuntimeError) as problem:
            self._explain(problem)
            raise

    def __exit__(self, kind, problem, traceback) -> None:
        if problem is not None:
            self._discard(problem)
            return
        try:
            self._unstage()
            self._file.close()
            check_output(self.path, self._overwrite)
            self._whole.close()
        except BaseException as failure:
            self._discard(failure)
            self._explain(failure)
            raise

    @property
    def _data(self) -> h5py.Group:
        return self._file[ENTRY]["data"]

    def _create(self, path: Path) -> h5py.File:
        return h5py.File(path, "x")

    def _explain(self, problem: BaseException) -> None:
        if isinstance(problem, PermissionError):
            raise read_only(self.path.parent) from problem
        if isinstance(problem, OSError | RuntimeError):
            raise OutputError(
                f"writing {self.path} failed: {problem}",
                "check whether the disk is full or the folder was deleted; no incomplete file is left",
            ) from problem

    def _discard(self, problem: BaseException) -> None:
        for file in filter(None, (self._stage, self._file)):
            # A discarded file may fail to close (disk full); report the failure that led here instead.
            with contextlib.suppress(OSError, RuntimeError):
                file.close()
        self._stage_path.unlink(missing_ok=True)
        self._whole.__exit__(type(problem), problem, problem.__traceback__)

    # For slabs that cut through the compressed chunks, each chunk would be compressed again for every slab. They are
    # first written to an uncompressed file in the same folder, which is compressed once, at the end.

    @property
    def _stage_path(self) -> Path:
        return self._temporary.with_suffix(".stage")

    def _staged(self) -> h5py.File:
        if self._stage is None:
            self._stage = self._create(self._stage_path)
            for name, (_, dtype, fill) in DATASETS.items():
                self._stage.create_dataset(name, self._source.shape[::-1], dtype, fillvalue=fill)
        return self._stage

    def _unstage(self) -> None:
        if self._stage is None:
            return
        for name in DATASETS:
            for row in range(self._source.shape[-1]):
                self._data[name][row] = self._stage[name][row]
        self._stage.close()
        self._stage_path.unlink()

    def _write_skeleton(self, file: h5py.File) -> None:
        source = self._source
        entry = file.create_group(ENTRY)
        entry.attrs["NX_class"] = fixed("NXentry")
        entry.attrs["QConvention"] = fixed(source.q_convention)
        entry.attrs["SaveMDVersion"] = np.int32(2)
        for name in ("coordinate_system", "visual_normalization"):
            entry.create_dataset(name, data=np.array([getattr(source, name)], dtype=np.uint32))
        if self._template is not None:
            _copy_template(Path(self._template), file, entry, len(source.shape))
        if getattr(source, "normalised", False):  # only histograms of MDNorm have it
            entry.attrs[NORMALISED] = np.int32(1)
        file.attrs["NX_class"] = fixed("NXroot")
        file.attrs["file_name"] = fixed(self.path.name)
        file.attrs["file_time"] = fixed(time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        if not experiment_groups(entry) and source.run.facts:
            title = source.title if self._title is None else self._title
            _write_experiment(entry.create_group("experiment0"), source.run, title)
        elif experiment_groups(entry):
            _write_own_logs(experiment_groups(entry)[0], source.run, self._title)
        if self._history is not None:
            _append_history(entry, self._history)
        _write_data_group(entry, source.axes)


def stored_arrays(spectrum: Spectrum) -> dict[str, np.ndarray]:
    """The arrays of a file by dataset; bins that are not valid but look like a measurement are NaN."""
    arrays = {name: getattr(spectrum, field) for name, (field, _, _) in DATASETS.items()}
    # The file cannot store `valid`; when it is read back, only the values show which bins are valid.
    unmarked = spectrum.replace(valid=None).valid & ~spectrum.valid
    if unmarked.any():
        for name in ("signal", "errors_squared"):
            arrays[name] = np.where(unmarked, np.nan, arrays[name])
    return arrays


def _write_data_group(entry: h5py.Group, axes: tuple[Axis, ...]) -> None:
    data = _group(entry, "data", "NXdata")
    names = dimension_names(axes)
    for name, axis in zip(names, axes, strict=True):
        values, unit = axis.outside
        edges = data.create_dataset(name, data=np.asarray(values, dtype=np.float64))
        for attribute, value in (("units", unit), ("long_name", axis.name), ("frame", axis.frame)):
            edges.attrs[attribute] = fixed(value)
    shape = tuple(len(a) for a in axes)[::-1]
    for name, (_, dtype, fill) in DATASETS.items():
        data.create_dataset(
            name, shape, dtype, chunks=(1, *shape[1:]), compression="gzip", compression_opts=6, fillvalue=fill
        )
    data["signal"].attrs["signal"] = np.int32(1)
    data["signal"].attrs["axes"] = fixed(":".join(reversed(names)))


def dimension_names(axes: tuple[Axis, ...]) -> list[str]:
    """Dataset names of the dimensions: their ids, or 'D0', 'D1'... where an id cannot be such a name."""
    ids = [a.id for a in axes]
    clash = len(set(ids)) < len(ids) or not set(ids).isdisjoint(DATASETS)
    if clash or any(re.search(r"[:/]|^\.+$|^\s|\s$", i) for i in ids):
        return [f"D{i}" for i in range(len(axes))]
    return ids


def _copy_template(path: Path, file: h5py.File, entry: h5py.Group, ndim: int) -> None:
    with open_hdf5(path) as template:
        old = template.get(ENTRY)
        if not isinstance(old, h5py.Group):
            return
        _copy_attributes(template, file)
        _copy_attributes(old, entry, but=_OWN_ATTRIBUTES)
        left_out = _OWN | (_TRANSFORMS if _dimension_count(old) != ndim else set())
        for name in old:
            if name not in left_out:
                _require_data(path, old, name)
                old.copy(name, entry)


def _require_data(path: Path, group: h5py.Group, name: str) -> None:
    """Raise InputError for a member of a group that cannot be opened, or that is or holds a type of data by itself,
    which no workspace has: a damaged one would crash HDF5 when it is copied."""
    with reading(path):
        item = group.get(name)
        inside = item.visititems(_name_of_type) if isinstance(item, h5py.Group) else None
    if inside is not None or isinstance(item, h5py.Datatype):
        name = "/".join(filter(None, (item.name, inside)))
        raise InputError(
            f"{path}: {name} is neither a group nor a dataset but a type of data",
            "copy or save the file again; an interrupted transfer leaves such files",
        )


def _name_of_type(name: str, item) -> str | None:
    return name if isinstance(item, h5py.Datatype) else None


def _dimension_count(entry: h5py.Group) -> int:
    if "data" in entry:
        return entry["data/signal"].ndim
    return int(entry["dimensions"][()].item())


def _copy_attributes(old, new, but: re.Pattern | None = None) -> None:
    for name, value in old.attrs.items():
        if isinstance(name, bytes) or (but is not None and but.fullmatch(name)):
            continue  # h5py gives a name that is not UTF-8 as bytes, and takes none
        new.attrs[name] = value.encode("utf-8", "replace") if isinstance(value, str) else value


def _group(parent: h5py.Group, name: str, nx_class: str, **attributes) -> h5py.Group:
    group = parent.require_group(name)
    group.attrs["NX_class"] = fixed(nx_class)
    for key, value in attributes.items():
        group.attrs[key] = value
    return group


def _put(group: h5py.Group, name: str, value: str | float | int) -> None:
    value = fixed(value) if isinstance(value, str) else value
    group.create_dataset(name, data=np.array([value]))


def _append_history(entry: h5py.Group, history: dict) -> None:
    """Add an entry in the format of Mantid's WorkspaceHistory, and the complete record as JSON in the same group."""
    process = _group(entry, "process", "NXprocess")
    numbers = [int(m[1]) for name in process if (m := re.fullmatch(r"MantidAlgorithm_(\d+)", name))]
    note = _group(process, f"MantidAlgorithm_{max(numbers, default=0) + 1}", "NXnote")
    _put(note, "author", "mantid-insgan")
    _put(note, "description", "Mantid Algorithm data")
    _put(note, "data", _history_text(history))
    _put(note, "json", json.dumps(history, default=str, sort_keys=True))


def last_record(path: Path) -> dict:
    """The record of the last history entry that this package wrote to a file; empty if there is none.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    with open_hdf5(path) as file, reading(path):
        process = file.get(f"{ENTRY}/process")
        numbers = [int(m[1]) for name in process or () if (m := re.fullmatch(r"MantidAlgorithm_(\d+)", name))]
        note = process[f"MantidAlgorithm_{max(numbers)}"] if numbers else {}
        record = text(note["json"][()]) if "json" in note else "{}"
    return parsed_record(record, path)


def parsed_record(record: str, path: Path) -> dict:
    """A record of a history, as it is written to a file.

    Raises
    ------
    InputError
        If it is no record.
    """
    try:
        found = json.loads(record)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"{path}: the last record of its history is {record[:60]!r}, expected a record in JSON",
            "take the file as insgan wrote it",
        )
    return found


def _history_text(history: dict) -> str:
    parameters = dict(history.get("parameters", {}))
    version = history.get("version", 1)
    if not isinstance(version, int):  # Mantid parses the version of an algorithm as an integer
        parameters["Version"], version = version, 1
    # Mantid splits the record at line ends, and the algorithm's line at blanks.
    flat = {re.sub(r"[\s,:]+", "_", str(k)): re.sub(r"\s+", " ", str(v)) for k, v in parameters.items()}
    name = "_".join(str(history.get("name", "insgan")).split())
    return "\n".join(
        [
            f"Algorithm: {name} v{version}",
            f"Execution Date: {_mantid_date()}",
            f"Execution Duration: {float(history.get('duration', 0.0)):g} seconds",
            "Parameters:",
            *(f"  Name: {k}, Value: {v}, Default?: No, Direction: Input" for k, v in flat.items()),
        ]
    )


def _mantid_date() -> str:
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    now = time.gmtime()  # strftime('%b') would follow the user's language
    return f"{now.tm_year}-{months[now.tm_mon - 1]}-{now.tm_mday:02d} {time.strftime('%H:%M:%S', now)}"


def _write_experiment(group: h5py.Group, run: Run, title: str) -> None:
    """A complete ExperimentInfo of an instrument without a name: LoadMD fails on an incomplete one.

    The name of the instrument is written to a log, because with ``instrument/name`` Mantid would look for its geometry.
    """
    one = np.int32(1)
    group.attrs["NX_class"] = fixed("NXgroup")
    group.attrs["version"] = one
    instrument = _group(group, "instrument", "NXinstrument", version=one)
    _put(instrument, "name", "")
    parameter_map = _group(instrument, "instrument_parameter_map", "NXnote", version=one)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000000", time.gmtime())
    for name, value in (("author", ""), ("data", ""), ("date", stamp), ("description", _PARAMETER_MAP_HELP)):
        _put(parameter_map, name, value)
    _put(parameter_map, "type", "text/plain")
    xml = _group(instrument, "instrument_xml", "NXnote")
    for name, value in (
        ("data", ""),
        ("description", "XML contents of the instrument IDF file."),
        ("type", "text/xml"),
    ):
        _put(xml, name, value)
    _write_logs(_group(group, "logs", "NXgroup", version=one), run, title)
    _write_sample(_group(group, "sample", "NXsample", version=one), run)


def _write_logs(logs: h5py.Group, run: Run, title: str) -> None:
    for name, value in logs_of_run(run, title).items():
        _put(_group(logs, name, "NXlog"), "value", value)
    _put(_group(logs, "goniometer", "NXpositioner", version=np.int32(1)), "num_axes", np.int32(0))


def _write_own_logs(experiment: h5py.Group, run: Run, title: str | None) -> None:
    """The resolution that the data have now, and a lattice, a sample or a title that was given, in place of what the
    template says: facts are read from the first experiment that has them."""
    for name, value in (own_logs(run) | {"run_title": title}).items():
        if value is None:
            continue
        logs = _group(experiment, "logs", "NXgroup")
        if name in logs:
            del logs[name]
        _put(_group(logs, name, "NXlog"), "value", value)


def _write_sample(sample: h5py.Group, run: Run) -> None:
    sample.attrs["name"] = fixed("")
    sample.attrs["shape_xml"] = fixed(f'<type name="userShape"> {shape_xml(run.value("sample"))} </type>')
    for name in ("geom_height", "geom_thickness", "geom_width"):
        _put(sample, name, 0.0)
    _put(sample, "geom_id", np.int32(0))
    material = _group(sample, "material", "NXdata", version=np.int32(2))
    material.attrs["formulaStyle"] = fixed("empty")
    material.attrs["name"] = fixed("")
    for name in ("number_density", "pressure", "temperature"):
        _put(material, name, 0.0)
    _put(sample, "num_other_samples", np.int32(0))
    lattice = run.value("lattice")
    # Mantid reads the lattice only with UB; a cell without UB is in a log.
    has_ub = lattice is not None and lattice.ub is not None
    _put(sample, "num_oriented_lattice", np.int32(has_ub))
    if has_ub:
        crystal = _group(sample, "oriented_lattice", "NXcrystal")
        for name in ("a", "b", "c", "alpha", "beta", "gamma"):
            _put(crystal, f"unit_cell_{name}", float(getattr(lattice, name)))
        crystal.create_dataset("orientation_matrix", data=np.asarray(lattice.ub, dtype=np.float64))
