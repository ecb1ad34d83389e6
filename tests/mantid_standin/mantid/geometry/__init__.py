"""mantid.geometry: dimensions of float32 precision, and lattices."""

import numpy as np


class MDFrame:
    def __init__(self, name, unit):
        self._name, self._unit = name, unit

    def name(self):
        return self._name

    def getUnitLabel(self):
        return self._unit


class IMDDimension:
    def __init__(self, name, units, frame, minimum, maximum, bins):
        self.name = name
        self._units, self._frame, self._bins = units, frame, int(bins)
        self._minimum, self._maximum = np.float32(minimum), np.float32(maximum)
        self._width = (self._maximum - self._minimum) / np.float32(bins)

    def getName(self):
        return self.name

    def getDimensionId(self):
        return self.name

    def getUnits(self):
        return self._units

    def getMDFrame(self):
        return MDFrame(self._frame, self._units)

    def getNBins(self):
        return self._bins

    def getNBoundaries(self):
        return self._bins + 1

    def getMinimum(self):
        return float(self._minimum)

    def getMaximum(self):
        return float(self._maximum)

    def getBinWidth(self):
        return float(self._width)

    def getX(self, ind):
        return float(np.float32(ind) * self._width + self._minimum)


class OrientedLattice:
    def __init__(self, _a=1.0, _b=1.0, _c=1.0, _alpha=90.0, _beta=90.0, _gamma=90.0):
        self._cell = tuple(map(float, (_a, _b, _c, _alpha, _beta, _gamma)))
        self._ub = None

    def a(self):
        return self._cell[0]

    def b(self):
        return self._cell[1]

    def c(self):
        return self._cell[2]

    def alpha(self):
        return self._cell[3]

    def beta(self):
        return self._cell[4]

    def gamma(self):
        return self._cell[5]

    def getUB(self):
        return np.array(self._ub)

    def setUFromVectors(self, u, v):
        """u goes along z, the beam, and v into the plane of z and x."""
        a, b, c, *angles = self._cell
        ca, cb, cg = np.cos(np.radians(angles))
        edges = np.array(  # of the cell, in any Cartesian frame: rows
            [[a, 0, 0], [b * cg, b * np.sqrt(1 - cg**2), 0], [c * cb, c * (ca - cb * cg) / np.sqrt(1 - cg**2), 0]]
        )
        edges[2, 2] = np.sqrt(c**2 - edges[2] @ edges[2])
        reciprocal = np.linalg.inv(edges)  # columns: a*, b*, c*
        bu, bv = reciprocal @ np.array(u, dtype=float), reciprocal @ np.array(v, dtype=float)
        z = bu / np.linalg.norm(bu)
        x = bv - (bv @ z) * z
        if np.linalg.norm(x) < 1e-9:
            raise ValueError("|B.u|=0 or |B.v|=0 or u||v")
        x /= np.linalg.norm(x)
        self._ub = np.stack([x, np.cross(z, x), z]) @ reciprocal

    def setUB(self, newUB):
        """Takes the cell from UB, as LoadMD and SetUB do."""
        self._ub = np.array(newUB, dtype=float).reshape(3, 3)
        metric = np.linalg.inv(self._ub.T @ self._ub)
        a, b, c = lengths = np.sqrt(np.diag(metric))
        cosines = (metric[1, 2] / (b * c), metric[0, 2] / (a * c), metric[0, 1] / (a * b))
        self._cell = (*map(float, lengths), *(float(x) for x in np.degrees(np.arccos(np.clip(cosines, -1, 1)))))
