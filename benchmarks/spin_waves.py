"""Times of linear spin waves: the Hamiltonian undivided, in blocks of equivalent sites, and in pySpinW.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/spin_waves.py [--family NAME ...] [--momenta 16384]

Times are processor time for a momentum, the shortest of --repeats runs in turn, of energies with S_perp at random
momenta that are calculated in chunks as `modes` does. 'Undivided' looks for no symmetry of the sites, only for a
conserved spin. Derivatives are those with all couplings of the family, energies and S_perp included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from pages import table_text
from results import add_option, column, table, write_results

from mantid_insgan.core.run import Lattice
from mantid_insgan.models.base import CHUNK
from mantid_insgan.models.spinw.model import _pyspinw_modes, _spin_waves
from mantid_insgan.models.spinw.zoo import get_family

COMMAND = "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/spin_waves.py"
CONDITIONS = (
    "Processor time for a momentum in microseconds, energies and S_perp at random momenta (seed 0), one thread; the "
    "shortest of several runs in turn."
)
NOTE = (
    "Microseconds of processor time for a momentum, the shortest of {repeats} runs on {momenta} momenta ({few} for "
    "pySpinW)."
)
COLUMNS = [
    column("family"),
    column("sites"),
    column("largest block, undivided (bosons)"),
    column("largest block"),
    column("pySpinW (µs)", "{:.0f}"),
    column("undivided (µs)", "{:.1f}"),
    column("in blocks (µs)", "{:.1f}"),
    column("with derivatives (µs)", "{:.1f}"),
    column("largest difference of energies (meV)", "{:.0e}"),
]
#: Momenta for pySpinW, which takes one at a time.
FEW = 512

_MANGANITE = (Lattice(5.408, 5.4599, 19.266), "Mn3+/Mn4+")
_HEXAGONAL = Lattice(6.1, 6.1, 11.5, gamma=120)
CASES = {
    "square_afm": (
        Lattice(4.215, 4.215, 13.77),
        "Mn2+",
        {"J1": 0.65, "J2": 0.01, "J3": 0.0, "Jperp": 0.0, "D": -0.005},
    ),
    "pcsmo_goodenough": (
        *_MANGANITE,
        {"JF1": -11.39, "JA": 1.5, "JF2": -1.35, "JF3": 1.5, "Jperp": 0.88, "D": 0.074},
    ),
    "pcsmo_dimer": (*_MANGANITE, {"JFW": -8.43, "JA1": 1.52, "JA2": 1.52, "JFS": -14.2, "Jperp": 0.92, "D": 0.073}),
    "triangular_120": (_HEXAGONAL, "Mn3+", {"J1": 2.5, "J2": 0.1, "Jperp": -0.1, "D": 0.3}),
    "kagome_q0": (_HEXAGONAL, "Fe3+", {"J1": 3.2, "J2": 0.1, "Jperp": -0.1, "DM": 0.2}),
}


def shortest(calls: list[Callable], repeats: int) -> list[float]:
    """Processor time of each call in s, the shortest of `repeats` rounds."""
    times = np.full((repeats, len(calls)), np.inf)
    for row in times:
        for number, call in enumerate(calls):
            start = time.process_time()
            call()
            row[number] = time.process_time() - start
    return times.min(axis=0).tolist()


def chunked(function: Callable, q: np.ndarray) -> None:
    """Call a function with chunks of momenta."""
    for start in range(0, len(q), CHUNK):
        function(q[start : start + CHUNK])


def run(name: str, momenta: int, repeats: int) -> list:
    """The row of one family."""
    lattice, ion, couplings = CASES[name]
    family = get_family(name)

    def made(**changed):
        return family.model(couplings | changed, lattice=lattice, ion=ion, check=not changed)

    model = made()
    waves, undivided = model._spin_waves, _spin_waves(model.hamiltonian, symmetry=False)
    changes = [model._direction(made(**{key: value + 1})) for key, value in couplings.items()]
    q = np.random.default_rng(0).uniform(-2, 2, (momenta, 3))
    energies = [np.sort(each.modes(q[:FEW])[0], axis=1) for each in (waves, undivided)]
    energies.append(_pyspinw_modes(model.hamiltonian, q[:FEW])[0])
    pyspinw, *ours = shortest(
        [
            lambda: _pyspinw_modes(model.hamiltonian, q[:FEW]),
            lambda: chunked(undivided.modes, q),
            lambda: chunked(waves.modes, q),
            lambda: chunked(lambda part: waves.modes_and_derivatives(part, changes), q),
        ],
        repeats,
    )
    sizes = [max(len(block.sign) for block in each._blocks) for each in (undivided, waves)]
    times = [1e6 * pyspinw / FEW, *(1e6 * seconds / momenta for seconds in ours)]
    return [name, len(model.hamiltonian.structure.sites), *sizes, *times, np.ptp(energies, axis=0).max()]


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--momenta", type=int, default=16384, help="random momenta (default 16384)")
    parser.add_argument("--repeats", type=int, default=5, help="runs, of which the shortest counts (default 5)")
    add_option(parser, "spin_waves")
    arguments = parser.parse_args()
    rows = [run(name, arguments.momenta, arguments.repeats) for name in arguments.family]
    facts = {"repeats": arguments.repeats, "momenta": arguments.momenta, "few": FEW}
    made = table("families", COLUMNS, rows, note=NOTE, facts=facts)
    print(table_text(made), flush=True)
    write_results(arguments.results, COMMAND, CONDITIONS, [made], keep_rows=True)


if __name__ == "__main__":
    main()
