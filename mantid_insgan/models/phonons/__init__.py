"""One-phonon scattering as a function S(Q,E), through Euphonic: a user's force constants, or lattices of springs."""

from .model import PhononModel, read_force_constants, require_euphonic

__all__ = ["PhononModel", "read_force_constants", "require_euphonic"]
