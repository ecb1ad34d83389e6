"""Resolution of neutron spectrometers in and out of S(Q,E), beside and inside Mantid."""

from .core.run import Fact, Lattice, Run
from .core.spectrum import Axis, Spectrum
from .errors import InsganError

__version__ = "0.1.0"
__all__ = ["Axis", "Fact", "InsganError", "Lattice", "Run", "Spectrum", "__version__"]
