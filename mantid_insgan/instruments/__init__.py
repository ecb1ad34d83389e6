"""Resolution of direct-geometry chopper spectrometers: widths, covariance and Monte Carlo deviations."""

from ..core.sample import Sample
from .catalogue import known_instruments
from .choppers import known_choppers
from .frames import Orientation
from .grid import ResolutionOnGrid
from .instrument import Resolution

__all__ = ["Orientation", "Resolution", "ResolutionOnGrid", "Sample", "known_choppers", "known_instruments"]
