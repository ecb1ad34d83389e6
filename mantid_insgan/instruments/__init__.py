"""Resolution of direct-geometry chopper spectrometers: widths, covariance and Monte Carlo deviations."""

from .beam import Sample
from .facts import known_choppers, known_instruments
from .frames import Orientation
from .instrument import Resolution

__all__ = ["Orientation", "Resolution", "Sample", "known_choppers", "known_instruments"]
