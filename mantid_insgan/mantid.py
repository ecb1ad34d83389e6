"""``import mantid_insgan.mantid`` in a script adds this package's algorithms to `mantid.simpleapi`, without any
configuration.

Examples
--------
>>> import mantid_insgan.mantid                                                            # doctest: +SKIP
>>> from mantid.simpleapi import ApplyResolutionGAN                                        # doctest: +SKIP
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import mantid.simpleapi
from mantid.api import AlgorithmFactory, AlgorithmManager

from .bundled import plugin_folders


def register() -> list[str]:
    """Register the plug-ins that Mantid did not load at start-up, and add their functions to simpleapi.

    Returns
    -------
    list of str
        Names of all algorithms of this package.
    """
    names = []
    for file in (f for folder in plugin_folders() for f in sorted(folder.glob("*.py"))):
        if not AlgorithmFactory.exists(file.stem):
            _execute(file)
        if AlgorithmFactory.exists(file.stem):  # fit functions are not algorithms
            names.append(file.stem)
            if not hasattr(mantid.simpleapi, file.stem):
                _make_function(file.stem)
    return names


def _execute(file: Path) -> None:
    # Under its bare name, as Mantid itself does.
    specification = importlib.util.spec_from_file_location(file.stem, file)
    specification.loader.exec_module(importlib.util.module_from_spec(specification))


def _make_function(name: str) -> None:
    """Add a function to simpleapi: subscribing at run time does not, and Mantid has no public call for it."""
    version = AlgorithmFactory.highestVersion(name)
    algorithm = AlgorithmManager.createUnmanaged(name, version)
    algorithm.initialize()
    mantid.simpleapi._create_algorithm_function(name, version, algorithm)


__all__ = register()
globals().update({name: getattr(mantid.simpleapi, name) for name in __all__})
