"""Figures and tables of spectra and of the resolution."""

from importlib import import_module

#: Name -> its module, which is loaded when the name is first used.
_PLACES = {
    "FORMATS": "style",
    "axis_label": "style",
    "check_report": "page",
    "columns": "text",
    "comparison_figure": "comparison",
    "evidence_in_memory": "evidence",
    "evidence_of_files": "evidence",
    "plot_comparison": "comparison",
    "plot_resolution": "resolution",
    "plot_spectrum": "spectrum",
    "resolution_figure": "resolution",
    "resolution_table": "resolution",
    "spectrum_figure": "spectrum",
    "table_text": "resolution",
    "verdict": "evidence",
    "write_report": "page",
}
__all__ = list(_PLACES)


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
