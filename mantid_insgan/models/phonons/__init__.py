"""One-phonon scattering as a function S(Q,E), with Euphonic: for given force constants, or for lattices of springs."""

from .model import PhononModel, read_force_constants, require_euphonic

__all__ = ["PhononModel", "read_force_constants", "require_euphonic"]
