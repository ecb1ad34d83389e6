"""Shape and size of a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import numpy as np

#: Sizes that each shape has.
_SIZES = {"cylinder": ("width", "height"), "annulus": ("width", "height"), "sphere": ("width",)}
SHAPES = ("cuboid", "cylinder", "annulus", "sphere")


@dataclass(frozen=True)
class Sample:
    """Shape and size of the sample.

    Its text, ``str(sample)``, stands in the logs of files: ``'cylinder,0.01,0.04,0.01'``.

    Parameters
    ----------
    shape : str
        'cuboid', 'cylinder' (axis vertical), 'annulus' (thin vertical wall) or 'sphere'.
    width, height, thickness : float
        Full size in metres: across the beam (horizontal), vertical, and along the beam. The diameter of a cylinder,
        annulus or sphere is `width`; a sphere has no other size.

    Raises
    ------
    InputError
        If the shape is not known or a size is negative.
    """

    shape: str = "cuboid"
    width: float = 0.01
    height: float = 0.01
    thickness: float = 0.01

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise InputError(
                f"sample shape {self.shape!r} is not known", "use cuboid, cylinder, annulus or sphere (--sample)"
            )
        if not min(self.width, self.height, self.thickness) >= 0:
            raise InputError(
                f"the sample is {self.width:g} x {self.height:g} x {self.thickness:g} m",
                "give its width, height and thickness in metres, none of them negative",
            )

    @classmethod
    def parsed(cls, text: str) -> Sample:
        """A sample from its text: the shape, then width, height and thickness in metres.

        Raises
        ------
        InputError
            If the text does not have that form, or as for `Sample`.
        """
        shape, *sizes = (part.strip() for part in text.split(","))
        try:
            numbers = [float(size) for size in sizes]
        except ValueError:
            numbers = []
        if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
            raise InputError(
                f"the sample {text!r} is not a shape and three numbers separated by commas",
                "give shape,width,height,thickness in metres, such as cylinder,0.01,0.04,0.01",
            )
        return cls(shape.lower(), *numbers)

    @classmethod
    def in_mm(cls, given: str | Sample | None) -> Sample | None:
        """``'cylinder,10,40'`` (shape, then width, height and thickness in mm, as many as the shape has) as a Sample; a
        Sample and None are returned as they are.

        Raises
        ------
        InputError
            If the text has another form, the shape is not known, or a size is negative.
        """
        if given is None or isinstance(given, cls):
            return given
        shape, *sizes = str(given).split(",")
        try:
            metres = [float(size) / 1000 for size in sizes]
        except ValueError:
            metres = []
        names = _SIZES.get(shape.strip(), ("width", "height", "thickness"))
        if not all(map(math.isfinite, metres)) or not len(names) <= len(metres) <= 3:
            raise InputError(
                f"the sample {given!r} is no shape with its sizes in mm",
                "give --sample cuboid,WIDTH,HEIGHT,THICKNESS, cylinder,WIDTH,HEIGHT, annulus,WIDTH,HEIGHT or "
                "sphere,WIDTH",
            )
        return cls(shape.strip(), **dict(zip(("width", "height", "thickness"), metres, strict=False)))

    def __str__(self) -> str:
        return f"{self.shape},{self.width:.10g},{self.height:.10g},{self.thickness:.10g}"

    def described(self) -> str:
        """The sample in words, sizes in mm."""
        width, height, thickness = (f"{1e3 * size:.4g}" for size in (self.width, self.height, self.thickness))
        if self.shape == "cuboid":
            return f"cuboid of {width} x {height} x {thickness} mm (across the beam, vertical, along the beam)"
        upright = "" if self.shape == "sphere" else f" and height {height} mm"
        return f"{self.shape} of diameter {width} mm{upright}"

    def variances(self) -> np.ndarray:
        """Variance of the scattering point along x, y, z in m^2, shape (3,), for uniform illumination."""
        import numpy as np

        across = self.width**2
        if self.shape == "sphere":
            return np.full(3, across / 20)
        if self.shape == "cuboid":
            return np.array([across, self.height**2, self.thickness**2]) / 12
        horizontal = across / (16 if self.shape == "cylinder" else 8)
        return np.array([horizontal, self.height**2 / 12, horizontal])
