"""Adds the resolution of neutron spectrometers to S(Q,E), or removes it, with Mantid or without.

The functions and classes for scripts are here under short names. Each is loaded on first use, so that
``import mantid_insgan`` loads nothing else.

Examples
--------
>>> import mantid_insgan as m
>>> spectrum = m.read("cut.nxs")                                                           # doctest: +SKIP
>>> result, report = m.apply(spectrum, direction="remove-resolution", instrument="MERLIN", chopper="G",
...                          frequency=600)                                                # doctest: +SKIP
>>> m.write(result, "corrected.nxs")                                                       # doctest: +SKIP
"""

from importlib import import_module

__version__ = "0.2.0"

#: Name -> (module, name there).
_PLACES = {
    "read": ("io", "read_spectrum"),
    "write": ("io", "write_spectrum"),
    "apply": ("translate.job", "apply"),
    "simulate": ("convolve", "convolve"),
    "Spectrum": ("core.spectrum", "Spectrum"),
    "Resolution": ("instruments", "Resolution"),
    "Axis": ("core.spectrum", "Axis"),
    "Lattice": ("core.run", "Lattice"),
    "Run": ("core.run", "Run"),
    "Fact": ("core.run", "Fact"),
    "InsganError": ("errors", "InsganError"),
}
__all__ = ["__version__", *_PLACES]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inside = _PLACES[name]
    found = getattr(import_module(f".{module}", __name__), inside)
    globals()[name] = found  # the next use does not come here
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
