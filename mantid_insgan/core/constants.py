"""Physical constants in the units of the package: meV, 1/Angstrom, m/s, Kelvin.

CODATA 2018 (E. Tiesinga, P. J. Mohr, D. B. Newell and B. N. Taylor, Rev. Mod. Phys. 93, 025010 (2021)): the mass of
the neutron; Planck's constant, the elementary charge and Boltzmann's constant are exact in the SI. They are given
here as numbers so that results do not change with the version of SciPy.
"""

from __future__ import annotations

import math

_HBAR = 6.62607015e-34 / (2 * math.pi)  # J s
_JOULE_PER_MEV = 1.602176634e-22
_NEUTRON_MASS = 1.67492749804e-27  # kg

#: FWHM of a Gaussian of unit standard deviation.
FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
#: hbar^2 / (2 m_n) in meV Angstrom^2: the energy of a neutron is HBAR2_OVER_2M * k^2.
HBAR2_OVER_2M = _HBAR**2 / (2 * _NEUTRON_MASS) / _JOULE_PER_MEV * 1e20
#: hbar / m_n in (m/s) per (1/Angstrom): the speed of a neutron is HBAR_OVER_M * k.
HBAR_OVER_M = _HBAR / _NEUTRON_MASS * 1e10
#: Boltzmann's constant, meV/K.
BOLTZMANN = 1.380649e-23 / _JOULE_PER_MEV
