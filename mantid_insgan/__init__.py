"""Resolution of neutron spectrometers in and out of S(Q,E), beside and inside Mantid.

Examples
--------
>>> import mantid_insgan as insgan                                                         # doctest: +SKIP
>>> spectrum = insgan.read("cut.nxs")                                                      # doctest: +SKIP
>>> result, report = insgan.apply(spectrum, instrument="MERLIN", chopper="G", frequency=600)  # doctest: +SKIP
>>> insgan.write(result, "corrected.nxs")                                                  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

#: Name -> module and name there. A module is loaded when a name of it is used first, so that importing this package
#: takes no time. No subpackage may have one of these names: importing it would put it in the place of the function.
_PLACES = {
    "read": ("io", "read_spectrum"),
    "write": ("io", "write_nexus"),
    "apply": ("translate.job", "apply"),
    "simulate": ("convolve", "convolve"),
    "Spectrum": ("core.spectrum", "Spectrum"),
    "Axis": ("core.spectrum", "Axis"),
    "Lattice": ("core.run", "Lattice"),
    "Run": ("core.run", "Run"),
    "Fact": ("core.run", "Fact"),
    "Resolution": ("instruments", "Resolution"),
    "InsganError": ("errors", "InsganError"),
}
__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _PLACES[name]
    found = getattr(import_module(f".{module}", __name__), there)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
