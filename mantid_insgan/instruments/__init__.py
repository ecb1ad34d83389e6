"""Resolution of direct-geometry chopper spectrometers: widths, covariance and Monte Carlo deviations."""

from .beam import Sample
from .catalogue import known_instruments
from .choppers import known_choppers
from .frames import Orientation
from .instrument import Resolution

__all__ = ["Orientation", "Resolution", "Sample", "known_choppers", "known_instruments"]
