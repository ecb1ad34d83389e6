"""SaveMD and LoadMD: the layout of MDHistoWorkspace files as Mantid writes it and demands it."""

import re

import numpy as np

from .api._workspaces import AlgorithmHistory, HistoBody, InfoBody, LogProperty, MatrixBody
from .geometry import IMDDimension, OrientedLattice
from .kernel import config

ARRAYS = {
    "signal": ("signal", np.float64),
    "errors_squared": ("error_squared", np.float64),
    "num_events": ("num_events", np.float64),
    "mask": ("mask", np.int8),
}
_HKL_UNIT = re.compile(r"r\.l\.u\.|A\^-1|in.*A.*\^-1")


def load(path):
    """The workspace in a file.

    Raises
    ------
    RuntimeError
        For a layout that LoadMD refuses.
    """
    import h5py

    with h5py.File(path, "r") as file:
        entry = file.get("MDHistoWorkspace")
        _demand(entry is not None and _text(entry.attrs.get("NX_class")) == "NXentry", "no entry MDHistoWorkspace")
        version = entry.attrs.get("SaveMDVersion")
        _demand(version is not None and int(version) == 2, "SaveMDVersion is not 2")
        data = entry["data"]
        _demand("axes" in data["signal"].attrs, "signal has no axes")
        names = _text(data["signal"].attrs["axes"]).split(":")
        body = HistoBody([_dimension(data, n) for n in reversed(names)])
        for name, (attribute, dtype) in ARRAYS.items():
            stored = data[name]
            _demand(stored.dtype == dtype, f"{name} is {stored.dtype}, not {np.dtype(dtype)}")
            _demand(stored.size == body.signal.size, f"{name} has {stored.size} values, not {body.signal.size}")
            getattr(body, attribute)[...] = stored[()].reshape(body.signal.shape[::-1]).T
        for name, attribute in (("coordinate_system", "coordinate_system"), ("visual_normalization", "normalization")):
            if name in entry:
                setattr(body, attribute, int(entry[name][0]))
        body.convention = config["Q.convention"]
        if (_text(entry.attrs.get("QConvention")) or "Inelastic") != body.convention:
            _negate(body)
        numbers = sorted(int(m[1]) for n in entry if (m := re.fullmatch(r"experiment(\d+)", n)))
        body.infos = [_experiment(entry[f"experiment{i}"]) for i in numbers]
        body.history = _history(entry.get("process"))
        return body


def load_nxspe(path):
    """The workspace in an nxspe file; a spectrum whose first value is no number or a large negative one is masked."""
    import h5py

    with h5py.File(path, "r") as file:
        entry = next(g for g in file.values() if "NXSPE_info" in g)
        needed = ("data", "error", "energy", "polar", "azimuthal", "polar_width", "azimuthal_width")
        for name in needed:
            if name not in entry["data"]:
                raise ValueError(f"{name} field was not found")
        data = {name: entry[f"data/{name}"][()].astype(float) for name in needed}
        body = MatrixBody(np.tile(data["energy"], (len(data["polar"]), 1)), data["data"], data["error"])
        body.polar, body.azimuthal = data["polar"], data["azimuthal"]
        first = data["data"][:, 0]
        body.masked = ~np.isfinite(first) | (first <= -1e10)
        info = entry["NXSPE_info"]
        psi = float(info["psi"][0]) if "psi" in info else 0.0
        for log, value in (("Ei", float(info["fixed_energy"][0])), ("psi", psi)):
            body.info.logs[log] = LogProperty(log, value, "")
        body.info.goniometer = psi
        if "instrument/name" in entry:
            body.info.instrument = np.atleast_1d(entry["instrument/name"][()])[0].decode()
        return body


def _demand(condition, problem):
    if not condition:
        raise RuntimeError(f"LoadMD cannot read this file: {problem}")


def _text(value):
    value = value[0] if isinstance(value, np.ndarray) else value
    _demand(value is None or isinstance(value, bytes), f"a string of variable length: {value!r}")
    text = (value or b"").decode()
    return "" if text == " " else text


def _dimension(data, name):
    edges = data[name]
    _demand({"long_name", "units"} <= set(edges.attrs), f"{name} has no long_name or units")
    units, frame = _text(edges.attrs["units"]), _text(edges.attrs.get("frame")) or "General Frame"
    if frame == "HKL" and not _HKL_UNIT.search(units):
        frame = "General Frame"
    first, last = edges[0], edges[-1]
    return IMDDimension(_text(edges.attrs["long_name"]), units, frame, first, last, edges.size - 1)


def _negate(body):
    for i, d in enumerate(body.dimensions):
        if d.name.startswith(("[", "Q_")):
            body.dimensions[i] = IMDDimension(
                d.name, d.getUnits(), d.getMDFrame().name(), -d.getMaximum(), -d.getMinimum(), d.getNBins()
            )
            for name in ("signal", "error_squared", "num_events", "mask"):
                array = getattr(body, name)
                array[...] = np.flip(array, i).copy()


def _experiment(group):
    # a half-written experiment stops the load of the whole file
    _demand({"sample", "logs", "instrument"} <= set(group), f"{group.name} lacks a part: it has {', '.join(group)}")
    info = InfoBody()
    info.instrument = _text(group["instrument/name"][()])
    for name, log in group["logs"].items():
        if name != "goniometer":
            info.logs[name] = _log(name, log)
    sample = group["sample"]
    info.shape_xml = _text(sample.attrs.get("shape_xml"))
    names = ("geom_id", "geom_width", "geom_height", "geom_thickness")
    if set(names) <= set(sample):
        info.geometry = (int(sample["geom_id"][0]), *(float(sample[name][0]) for name in names[1:]))
    if int(sample["num_oriented_lattice"][0]):
        info.lattice = OrientedLattice()
        info.lattice.setUB(sample["oriented_lattice/orientation_matrix"][()])
    return info


def _log(name, group):
    stored = group["value"]
    units = _text(stored.attrs.get("units"))
    if stored.dtype.kind == "S":
        return LogProperty(name, _text(stored[()]), units)
    values = stored[()]
    if "time" in group:
        return LogProperty(name, values, units, group["time"][()])
    return LogProperty(name, values[0].item(), units)


def _history(process):
    records = []
    for i in range(1, len(process or ()) + 1):
        note = process.get(f"MantidAlgorithm_{i}")
        if note is None:
            continue
        text = _text(note["data"][()])
        head = re.match(r"Algorithm: (\S+) v(\d+)", text)
        _demand(head, f"the history entry {i} does not parse")
        values = dict(re.findall(r"Name: (.*?), Value: (.*?), Default\?", text))
        records.append(AlgorithmHistory(head[1], int(head[2]), values, text))
    return records


def save(body, path):
    """Write a workspace as SaveMD does."""
    import h5py

    with h5py.File(path, "w") as file:
        entry = _group(file, "MDHistoWorkspace", "NXentry", SaveMDVersion=np.int32(2))
        entry.attrs["QConvention"] = np.bytes_(body.convention)
        entry["coordinate_system"] = np.array([body.coordinate_system], np.uint32)
        entry["visual_normalization"] = np.array([body.normalization], np.uint32)
        data = _group(entry, "data", "NXdata")
        for d in body.dimensions:
            data[d.name] = np.array([d.getX(i) for i in range(d.getNBoundaries())])
            values = {"units": d.getUnits(), "long_name": d.name, "frame": d.getMDFrame().name()}
            data[d.name].attrs.update({k: np.bytes_(v or " ") for k, v in values.items()})
        shape = body.signal.shape[::-1]
        for name, (attribute, dtype) in ARRAYS.items():
            values = getattr(body, attribute).T.astype(dtype)
            data.create_dataset(name, data=values, chunks=(1, *shape[1:]), compression=6)
        data["signal"].attrs["signal"] = np.int32(1)
        data["signal"].attrs["axes"] = np.bytes_(":".join(d.name for d in reversed(body.dimensions)))
        for i, info in enumerate(body.infos):
            _save_experiment(_group(entry, f"experiment{i}", "NXgroup", version=np.int32(1)), info)
        process = _group(entry, "process", "NXprocess")
        for i, record in enumerate(body.history, 1):
            note = _group(process, f"MantidAlgorithm_{i}", "NXnote")
            _put(note, "data", record.text or _record_text(record))


def _save_experiment(group, info):
    instrument = _group(group, "instrument", "NXinstrument", version=np.int32(1))
    _put(instrument, "name", info.instrument)
    logs = _group(group, "logs", "NXgroup", version=np.int32(1))
    for name, log in info.logs.items():
        entry = _group(logs, name, "NXlog")
        _put(entry, "value", log.value)
        if log.units:
            entry["value"].attrs["units"] = np.bytes_(log.units)
        if log.times is not None:
            entry["time"] = log.times
    sample = _group(group, "sample", "NXsample", version=np.int32(1))
    sample.attrs["shape_xml"] = np.bytes_(info.shape_xml or '<type name="userShape">  </type>')
    for name, value in zip(("geom_id", "geom_width", "geom_height", "geom_thickness"), info.geometry, strict=True):
        _put(sample, name, value if name != "geom_id" else np.int32(value))
    _put(sample, "num_oriented_lattice", np.int32(info.lattice is not None))
    if info.lattice is not None:
        crystal = _group(sample, "oriented_lattice", "NXcrystal")
        crystal["orientation_matrix"] = info.lattice.getUB()
        for name in ("a", "b", "c", "alpha", "beta", "gamma"):
            _put(crystal, f"unit_cell_{name}", getattr(info.lattice, name)())


def _record_text(record):
    lines = [f"Algorithm: {record.name()} v{record.version()}", "Parameters:"]
    lines += [f"  Name: {k}, Value: {v}, Default?: No, Direction: Input" for k, v in record._values.items()]
    return "\n".join(lines)


def _group(parent, name, nx_class, **attributes):
    group = parent.create_group(name)
    group.attrs["NX_class"] = np.bytes_(nx_class)
    group.attrs.update(attributes)
    return group


def _put(group, name, value):
    group[name] = np.atleast_1d(np.bytes_(value or " ") if isinstance(value, str) else value)
