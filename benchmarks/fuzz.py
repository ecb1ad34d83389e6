"""Damaged and hostile files: ``python benchmarks/fuzz.py [--files 10000] [--seed 1]``.

Mutates valid workspaces, nxspe files, results, cards and ONNX files, and gives each to what a user would: inspecting
and applying, reporting, opening a model and applying it. Every file has to end in an error of this package, or in an
answer that is whole and finite. A crash, a hang, an exception of another kind and a file that is left behind are
findings.

    python benchmarks/fuzz.py --only 123 --keep /tmp/found    # one mutation again, with its file and its traceback

Batches run in processes of their own, forked from one in which everything is imported, with 1 GB of address space
beyond what that one has, and 10 s of processor time for each file.
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

COMMAND = "python benchmarks/fuzz.py --files {files} --seed {seed}"
CONDITIONS = (
    "Seeded mutations of small valid files: bytes flipped, cut off, inserted, zeroed; datasets of other shapes and "
    "types, with NaN, infinities, huge and negative values, deleted, renamed, linked elsewhere; attributes of other "
    "kinds; JSON with values of other types; graphs with other operators, sizes and weights, under cards with a "
    "fitting hash. Each file in a process with {memory} MB of address space beyond that of the libraries, "
    "{seconds:g} s of processor time, and {clock:g} s by the clock. Seed {seed}."
)
COLUMNS = [
    column("kind"),
    column("files"),
    column("refused"),
    column("answered"),
    column("other exceptions"),
    column("crashes"),
    column("over 10 s"),
    column("files left"),
]
#: Bytes of memory for one file, seconds of processor time and by the clock, and files in one process.
MEMORY, SECONDS, CLOCK, BATCH = 2**30, 10.0, 120.0, 100
#: Share of each kind of file.
KINDS = {"slice": 3, "cut": 2, "volume": 1, "nxspe": 3, "result": 2, "card": 4, "onnx": 4}
REFUSED, ANSWERED = "refused", "answered"
EXCEPTION, CRASH, HANG, LEFT = "other exceptions", "crashes", "over 10 s", "files left"


@dataclass(frozen=True)
class Outcome:
    """What became of one file: one of the columns, and what was said."""

    number: int
    kind: str
    what: str
    said: str


# -- seeds


def make_seeds(folder: Path) -> None:
    """Valid files of every kind, small ones."""
    from mantid_insgan.core.options import ApplyOptions
    from mantid_insgan.core.run import Lattice, Run
    from mantid_insgan.core.spectrum import Axis, Spectrum
    from mantid_insgan.io import write_nexus
    from mantid_insgan.translate.cards import choose_model
    from mantid_insgan.translate.job import apply_to_file

    facts = {"instrument": "MERLIN", "ei": 60.0, "chopper": "G", "frequency": 400.0, "lattice": Lattice(4, 4, 6)}
    run = Run().updated("seed", **facts)
    axes = [Axis(f"[{n}]", np.linspace(-0.5, 0.5, 9), "r.l.u.", "HKL") for n in ("H,0,0", "0,K,0")]
    one = Axis("[0,0,L]", [-0.1, 0.1], "r.l.u.", "HKL")
    energy = Axis("DeltaE", np.linspace(-5, 40, 25), "DeltaE")
    rng = np.random.default_rng(0)
    for name, some in {"slice": [axes[0], one, energy], "cut": [one, energy], "volume": [*axes, energy]}.items():
        counts = rng.poisson(20, [len(a) for a in some]).astype(float)
        write_nexus(Spectrum(counts, counts + 1, some, run=run), folder / f"{name}.nxs")
    adding = ApplyOptions(direction="add-resolution", device="cpu")  # the model that is opened in the shortest time
    apply_to_file(folder / "cut.nxs", folder / "result.nxs", adding)
    _make_nxspe(folder / "nxspe.nxspe", rng)
    shutil.copytree(choose_model("add-resolution", 1).path.parent, folder / "model")


def _make_nxspe(path: Path, rng) -> None:
    polar = np.linspace(5, 60, 12)
    counts = rng.poisson(20, (12, 20)).astype(float)
    with h5py.File(path, "w") as file:
        for group in ("ws/NXSPE_info", "ws/data", "ws/instrument"):
            file.create_group(group)
        for name, value in {
            "definition": np.bytes_("NXSPE"),
            "NXSPE_info/fixed_energy": np.array([60.0]),
            "NXSPE_info/psi": np.array([0.0]),
            "NXSPE_info/ki_over_kf_scaling": np.array([1], np.int32),
            "instrument/name": np.bytes_("MERLIN"),
            "data/data": counts,
            "data/error": np.sqrt(counts + 1),
            "data/energy": np.linspace(-5, 40, 21),
            "data/polar": polar,
            "data/azimuthal": np.zeros(12),
            "data/polar_width": np.full(12, 2.0),
            "data/azimuthal_width": np.full(12, 2.0),
        }.items():
            file[f"ws/{name}"] = value


# -- mutations


def mutate_bytes(content: bytes, rng) -> bytes:
    """Some bytes flipped, cut off, inserted, zeroed or repeated."""
    data = bytearray(content)
    way = rng.integers(6)
    at = int(rng.integers(max(len(data), 1)))
    size = int(rng.integers(1, 1 + min(len(data), 10 ** int(rng.integers(1, 5)))))
    if way == 0:
        return bytes(data[:at])
    if way == 1:
        for place in rng.integers(len(data), size=int(rng.integers(1, 20))):
            data[place] ^= 1 << int(rng.integers(8))
    elif way == 2:
        for place in rng.integers(min(len(data), 2048), size=int(rng.integers(1, 6))):  # headers
            data[place] = int(rng.integers(256))
    elif way == 3:
        data[at : at + size] = bytes(size)
    elif way == 4:
        data[at:at] = rng.bytes(size)
    else:
        data[at : at + size] = data[:size]
    return bytes(data)


VALUES = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e308, -1e308, 1e-320, 1e18, -1e30, 2.0**63, 5.0, 1e9)
TYPES = ("f4", "f8", "i1", "i4", "i8", "u1", "u8", "c16", "S5", "f2", "?", ">f8")


def mutate_hdf5(path: Path, rng) -> None:
    """Some datasets and attributes of a file of other values, shapes, types and places."""
    with h5py.File(path, "r+") as file:
        for _ in range(int(rng.integers(1, 4))):
            names: list[str] = []
            file.visit(names.append)
            if names:
                _mutate_object(file, names[int(rng.integers(len(names)))], rng)


def _mutate_object(file: h5py.File, name: str, rng) -> None:
    item, way = file[name], int(rng.integers(12))
    if way == 0:
        del file[name]
    elif way == 1:
        _relinked(file, name, rng)
    elif way == 2 and item.attrs:
        _mutate_attribute(item, rng)
    elif way == 3:
        file.move(name, name + rng.choice(["x", "/y", " ", "é"]))
    elif isinstance(item, h5py.Dataset) and item.size is not None and item.size < 10**6:
        attributes = dict(item.attrs)
        values = _mutated_values(item[()], way, rng)
        del file[name]
        if way == 11:  # declared and never written
            shape = tuple(int(n) for n in rng.choice([0, 1, 10**4, 10**6, 2**40], size=int(rng.integers(1, 5))))
            if np.prod([float(n) for n in shape]) < 2**60:
                made = file.create_dataset(name, shape, "f8", chunks=tuple(min(max(n, 1), 64) for n in shape) or None,
                                           maxshape=(None,) * len(shape))  # fmt: skip
            else:
                made = file.create_dataset(name, data=values)
        else:
            made = file.create_dataset(name, data=values)
        for key, value in attributes.items():
            made.attrs[key] = value
    else:
        _mutate_attribute(item, rng)


def _relinked(file: h5py.File, name: str, rng) -> None:
    """A link to itself, to another object, to nothing, or to another file in place of an object."""
    other: list[str] = []
    file.visit(other.append)
    del file[name]
    target = ["/" + name, "/" + other[int(rng.integers(len(other)))], "/nowhere"][int(rng.integers(3))]
    file[name] = h5py.ExternalLink("/etc/passwd", "/") if rng.random() < 0.2 else h5py.SoftLink(target)


def _mutate_attribute(item, rng) -> None:
    names = [*item.attrs, "axes", "units", "dimension0"]
    name = names[int(rng.integers(len(names)))]
    value = [
        np.nan,
        -1,
        10**12,
        "",
        "x" * 5000,
        b"\xff\xfe",
        ":::",
        [1, 2, 3],
        "<Dimension>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]>",
    ]
    item.attrs[name] = value[int(rng.integers(len(value)))]


def _mutated_values(values, way: int, rng):
    values = np.array(values)
    if values.dtype.kind not in "fiu" or way == 4:
        return [
            b"",
            b"\xff\xfe\x00",
            "x" * 3000,
            np.array([b"a", b"b"]),
            3.0,
            "<b>$x$</b>",
            np.zeros((2, 2)),
            "MERLIN,=,",
        ][int(rng.integers(8))]
    if way == 5:
        with np.errstate(all="ignore"):
            return values.astype(TYPES[int(rng.integers(len(TYPES)))])
    if way == 6:
        return values.reshape(-1)[: int(rng.integers(values.size + 1))]
    if way == 7:
        return np.resize(values, tuple(int(n) for n in rng.integers(0, 12, size=int(rng.integers(0, 6)))))
    if way == 8:
        return values.T if values.ndim > 1 else np.stack([values] * 2)
    if way == 9:
        return np.full(values.shape, VALUES[int(rng.integers(len(VALUES)))])
    changed = values.astype(float).reshape(-1).copy()
    if changed.size:
        some = rng.integers(changed.size, size=int(rng.integers(1, 1 + changed.size)))
        changed[some] = [VALUES[int(i)] for i in rng.integers(len(VALUES), size=some.size)]
    return changed.reshape(values.shape)


WRONG = (
    None,
    True,
    -1,
    0,
    1e308,
    float("nan"),
    float("inf"),
    10**30,
    "",
    "x" * 30_000,
    "a\x1b[2J",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
)


def mutate_json(content: bytes, rng) -> bytes:
    """Some values of other types, removed, or added."""
    data = json.loads(content)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(data))
        holder, key = places[int(rng.integers(len(places)))]
        way = int(rng.integers(5))
        if way == 0:
            del holder[key]
        elif way == 1 and isinstance(holder, dict):
            holder["more" + str(int(rng.integers(9)))] = copy.deepcopy(WRONG[int(rng.integers(len(WRONG)))])
        elif way == 2 and isinstance(holder[key], int | float):
            holder[key] = holder[key] * float(rng.choice([-1, 0, 1e3, 1e9, 1e-12]))
        else:
            holder[key] = copy.deepcopy(WRONG[int(rng.integers(len(WRONG)))])
    return json.dumps(data).encode()


def _places(data, depth: int = 0):
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        # long rows of numbers would take all the mutations
        if isinstance(data[key], dict | list) and depth < 4 and len(data[key]) < 40:
            yield from _places(data[key], depth + 1)


def mutate_graph(content: bytes, rng) -> bytes:
    """An ONNX graph with other operators, sizes, weights, names and attributes."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    graph = model.graph
    for _ in range(int(rng.integers(1, 4))):
        node, tensor = (x[int(rng.integers(len(x)))] for x in (graph.node, graph.initializer))
        way = int(rng.integers(11))
        if way == 0:
            node.op_type = str(
                rng.choice(["Loop", "If", "Tile", "Expand", "Identity", "Conv", "Evil", "MatMul", "Reshape"])
            )
        elif way == 1:
            node.domain = str(rng.choice(["com.microsoft", "x", "ai.onnx.ml"]))
        elif way == 2:
            graph.node.remove(node)
        elif way == 3 and tensor.dims:
            tensor.dims[0] = int(rng.choice([0, -1, 2**20, 2**40, 2**62]))
        elif way == 4:
            tensor.raw_data = tensor.raw_data[: int(rng.integers(1 + len(tensor.raw_data)))]
        elif way == 5 and tensor.data_type == 7 and tensor.raw_data:
            count = len(tensor.raw_data) // 8
            tensor.raw_data = rng.choice([0, -1, 2**20, 2**31, 2**50, 2**62], size=count).astype("<i8").tobytes()
        elif way == 6 and tensor.data_type == 1:
            tensor.raw_data = np.full(len(tensor.raw_data) // 4, VALUES[int(rng.integers(8))], "<f4").tobytes()
        elif way == 7:
            tensor.data_type = int(rng.integers(0, 24))
        elif way == 8:
            tensor.data_location = 1
            tensor.external_data.add(key="location", value="/etc/passwd")
        elif way == 9 and node.input:
            node.input[int(rng.integers(len(node.input)))] = str(
                rng.choice([tensor.name, "signal", "", "nothing", node.output[0]])
            )
        else:
            del graph.output[int(rng.integers(len(graph.output)))]
            graph.output.append(graph.input[int(rng.integers(len(graph.input)))])
    return model.SerializeToString()


# -- one file


def kind_of(number: int, seed: int) -> tuple[str, np.random.Generator]:
    """The kind of a mutation, and the generator that makes the rest of it."""
    rng = np.random.default_rng([seed, number])
    names = [name for name, share in KINDS.items() for _ in range(share)]
    return names[int(rng.integers(len(names)))], rng


def mutated(number: int, seed: int, seeds: Path, folder: Path) -> tuple[str, Path]:
    """The kind of a mutation, and what it wrote into a folder: always the same for a number and a seed."""
    kind, rng = kind_of(number, seed)
    if kind in ("card", "onnx"):
        return kind, _mutated_model(kind, rng, seeds, folder)
    suffix = "nxspe" if kind == "nxspe" else "nxs"
    path = folder / f"{kind}.{suffix}"
    shutil.copy(seeds / path.name, path)
    if rng.random() < 0.4:
        path.write_bytes(mutate_bytes(path.read_bytes(), rng))
    else:
        try:
            mutate_hdf5(path, rng)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError):
            path.write_bytes(mutate_bytes((seeds / path.name).read_bytes(), rng))  # h5py did not write that
    return kind, path


def _mutated_model(kind: str, rng, seeds: Path, folder: Path) -> Path:
    import hashlib

    shutil.copytree(seeds / "model", folder / "model")
    card, model = folder / "model" / "card.json", folder / "model" / "model.onnx"
    if kind == "card":
        change = mutate_bytes if rng.random() < 0.3 else mutate_json
        card.write_bytes(change(card.read_bytes(), rng))
        return folder / "model"
    change = mutate_bytes if rng.random() < 0.4 else mutate_graph
    model.write_bytes(change(model.read_bytes(), rng))
    content = json.loads(card.read_text())
    content["sha256"] = hashlib.sha256(model.read_bytes()).hexdigest()  # as someone who makes such a file would
    card.write_text(json.dumps(content))
    return folder / "model"


def tried(kind: str, path: Path, seeds: Path, output: Path, opened: dict) -> None:
    """What a user would do with a file; raises what they would see."""
    from mantid_insgan.core.options import ApplyOptions
    from mantid_insgan.translate.inspect import inspect_file, inspect_model
    from mantid_insgan.translate.job import apply_to_file

    if kind in ("card", "onnx"):
        inspect_model(str(path)).as_text()
        options = ApplyOptions(direction="add-resolution", model=str(path), device="cpu")
        apply_to_file(seeds / "cut.nxs", output, options)
        _require_whole(output)
    elif kind == "result":
        from mantid_insgan.report.evidence import evidence_of_files, verdict
        from mantid_insgan.report.page import tables

        known = evidence_of_files(seeds / "cut.nxs", path, device="cpu")
        verdict(known), tables(known)
    else:
        sheet = inspect_file(path)
        json.dumps(sheet.as_dict()), sheet.as_text()
        apply_to_file(path, output, ApplyOptions(instrument="MERLIN", chopper="G", frequency=400.0, device="cpu"),
                      opened=opened)  # fmt: skip
        _require_whole(output)


def _require_whole(output: Path) -> None:
    """The file of an answer has to be complete, with finite numbers and errors above 0."""
    from mantid_insgan.io import read_nexus

    result = read_nexus(output)
    here = result.valid
    assert here.any() and np.isfinite(result.signal[here]).all() and (result.variance[here] > 0).all(), "not whole"


def one_file(number: int, seed: int, seeds: Path, opened: dict, keep: Path | None = None) -> Outcome:
    """Make, try and judge one file."""
    from mantid_insgan.errors import InsganError

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kind, path = mutated(number, seed, seeds, folder)
        if keep is not None:
            (shutil.copytree if path.is_dir() else shutil.copy)(path, keep / f"{number}-{path.name}")
        before = sorted(folder.rglob("*"))
        output = folder / "out.nxs"
        try:
            tried(kind, path, seeds, output, opened)
            what, said = ANSWERED, ""
        except InsganError as error:
            what, said = REFUSED, f"{type(error).__name__}: {error}"
        except BaseException as error:
            lines = traceback.format_exc() if keep is not None else traceback.format_exc(limit=-2)
            what, said = EXCEPTION, f"{type(error).__name__}: {lines}"
        left = [p for p in sorted(folder.rglob("*")) if p not in before and not (p == output and what == ANSWERED)]
        if left:
            what, said = LEFT, f"{', '.join(p.name for p in left)}; {said}"
        return Outcome(number, kind, what, said)


# -- many


def run_all(numbers: list[int], seed: int, seeds: Path, workers: int, minutes: float = np.inf) -> list[Outcome]:
    """The outcomes of all numbers, in batches of processes; of the first ones, if there is no time for all."""
    end = time.monotonic() + 60 * minutes
    waiting = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]
    done: list[Outcome] = []
    running: dict[int, _Batch] = {}
    while waiting or running:
        if time.monotonic() > end:
            waiting = []
        while waiting and len(running) < workers:
            batch = _Batch(waiting.pop(0), seed, seeds)
            running[batch.reader] = batch
        ready, _, _ = select.select(list(running), [], [], 0.5)
        for reader in list(running):
            batch = running[reader]
            more, rest = batch.look(reader in ready)
            done += more
            if rest is not None:
                del running[reader]
                waiting = [rest, *waiting] if rest else waiting
                print(len(done), "files", file=sys.stderr, flush=True)
    return done


class _Batch:
    """A forked process that works through numbers and says a line after each; killed when it is late."""

    def __init__(self, numbers: list[int], seed: int, seeds: Path):
        self.numbers, self.seed = list(numbers), seed
        self.reader, writer = os.pipe()
        self.text = b""
        self.process = os.fork()
        if self.process == 0:
            os.close(self.reader)
            _work(numbers, seed, seeds, writer)
        os.close(writer)
        self.since = self._spent()

    def _spent(self) -> tuple[float, float]:
        """Seconds of processor time of the process, and of the clock."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), time.monotonic()

    def _late(self) -> bool:
        used, passed = (now - then for now, then in zip(self._spent(), self.since, strict=True))
        return used > SECONDS or passed > CLOCK

    def look(self, ready: bool) -> tuple[list[Outcome], list[int] | None]:
        """Outcomes that came since the last look; and, once the process has ended, the numbers that are left."""
        found, ended = [], False
        if ready:
            part = os.read(self.reader, 1 << 16)
            ended = not part
            *lines, self.text = (self.text + part).split(b"\n")
            for line in lines:
                found.append(Outcome(**json.loads(line)))
                self.numbers.remove(found[-1].number)
                self.since = self._spent()
        late = bool(not ended and self.numbers and self._late())
        if not (ended or late):
            return found, None
        if late:
            os.kill(self.process, signal.SIGKILL)
        os.close(self.reader)
        status = os.waitpid(self.process, 0)[1]
        if self.numbers:  # it ended before its time: by the file that it was at
            number = self.numbers.pop(0)
            kind, _ = kind_of(number, self.seed)
            found.append(Outcome(number, kind, HANG if late else CRASH, f"status {status}"))
        return found, self.numbers


def _work(numbers: list[int], seed: int, seeds: Path, writer: int) -> None:
    """The process of a batch; never returns."""
    status = 1
    try:
        faulthandler.disable()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1), os.dup2(silent, 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        opened: dict = {}
        for number in numbers:
            outcome = one_file(number, seed, seeds, opened)
            os.write(writer, json.dumps(vars(outcome) | {"said": outcome.said[:1500]}).encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=np.inf, help="start no batch after these")
    parser.add_argument("--only", type=int, help="try this number alone, in this process")
    parser.add_argument("--keep", type=Path, help="folder for the file of --only")
    add_option(parser, "fuzz")
    options = parser.parse_args()
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    import mantid_insgan.report.page
    import mantid_insgan.translate.job  # noqa: F401

    _read_tables()
    with tempfile.TemporaryDirectory() as name:
        seeds = Path(name)
        make_seeds_apart(seeds)
        if options.only is not None:
            print(one_file(options.only, options.seed, seeds, {}, options.keep or seeds))
            return
        outcomes = run_all(list(range(options.files)), options.seed, seeds, options.workers, options.minutes)
    found = [o for o in outcomes if o.what not in (REFUSED, ANSWERED)]
    for outcome in found:
        print(f"--- {outcome.number} {outcome.kind}: {outcome.what}: {outcome.said}")
    count = Counter((o.kind, o.what) for o in outcomes)
    names = [c["name"] for c in COLUMNS[2:]]
    rows = [[k, sum(o.kind == k for o in outcomes), *(count[k, name] for name in names)] for k in sorted(KINDS)]
    rows.append(["all", len(outcomes), *(sum(o.what == name for o in outcomes) for name in names)])
    made = table("outcomes", COLUMNS, rows)
    print(table_text(made))
    conditions = CONDITIONS.format(memory=MEMORY // 2**20, seconds=SECONDS, clock=CLOCK, seed=options.seed)
    write_results(options.results, COMMAND.format(files=len(outcomes), seed=options.seed), conditions, [made])


def _read_tables() -> None:
    """Read the tables of the instruments, once for all processes."""
    from mantid_insgan.core.run import Run
    from mantid_insgan.instruments import Resolution

    for name in ("MERLIN", "MAPS"):
        run = Run().updated("none", instrument=name, ei=60.0, chopper="S", frequency=400.0)
        Resolution.of_spectrometer(run).fwhm_energy(5.0)


def make_seeds_apart(seeds: Path) -> None:
    """The seeds, made in a process of their own: a fork of one in which ONNX Runtime has threads would hang."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            make_seeds(seeds)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(process, 0)[1]:
        raise SystemExit("the seeds could not be made")


if __name__ == "__main__":
    main()
