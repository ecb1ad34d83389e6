"""The sample in files: Mantid's XML of a shape (SetSample, CreateSampleShape), and the flags of ISIS raw files.

Sizes are those of a `Sample` with the same variances of the scattering point along x, y and z, which is what the
resolution needs: a shape that is turned or lies on its side becomes a cuboid of these.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import h5py
import numpy as np

from ..core.sample import Sample
from .hdf5 import dataset_number, text

#: Axes that differ from the vertical by less than this are upright (cosine).
_UPRIGHT = 1 - 1e-6
#: ``geom_id`` of ISIS raw files (LoadSampleDetailsFromRaw): 4 is a single crystal without a shape. Sizes are in mm.
_FLAGS = {1: "cylinder", 2: "flat plate", 3: "disc"}
_MM = 1e-3


def sample_of_group(group: h5py.Group) -> tuple[Sample | None, str, tuple[str, ...]]:
    """The sample in the ``sample`` group of an experiment: see `sample_of`."""
    sizes = (dataset_number(group, f"geom_{name}") for name in ("width", "height", "thickness"))
    return sample_of(text(group.attrs.get("shape_xml")), dataset_number(group, "geom_id"), *sizes)


def sample_of(
    xml: str, flag: float | None, width: float | None, height: float | None, thickness: float | None
) -> tuple[Sample | None, str, tuple[str, ...]]:
    """The sample that Mantid describes, by the XML of its shape or else by the flag and sizes (mm) of a raw file.

    Returns
    -------
    Sample or None
    str
        Where it was found.
    tuple of str
        Notes on what was not used.
    """
    found, notes = sample_of_xml(xml)
    if found is not None or notes:
        return found, "sample shape", notes
    return _of_flag(flag, [width, height, thickness]), "sample geometry (geom_id)", ()


def sample_of_xml(xml: str) -> tuple[Sample | None, tuple[str, ...]]:
    """The sample in Mantid's XML of a shape, and a note where the XML has something that is not known here.

    Parameters
    ----------
    xml : str
        With or without a ``type`` element around it; '' is no sample.
    """
    try:
        root = ElementTree.fromstring(f"<all>{xml}</all>")
    except ElementTree.ParseError as problem:
        return None, (f"its XML was not read ({problem})",)
    outer = root.find("type")
    shapes = [e for e in (root if outer is None else outer) if isinstance(e.tag, str) and e.tag != "algebra"]
    if not shapes:
        return None, ()
    kinds = ", ".join(e.tag for e in shapes)
    if len(shapes) > 1 or shapes[0].tag not in _READERS:
        return None, (f"{kinds} was not used: expected one of {', '.join(_READERS)}",)
    try:
        return _READERS[shapes[0].tag](shapes[0]), ()
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        return None, (f"{kinds} was not used: it is not complete ({problem})",)


def shape_xml(sample: Sample | None) -> str:
    """A sample as Mantid's XML, centred at the origin; '' without one."""
    if sample is None:
        return ""
    x, y, z = (0.5 * size for size in (sample.width, sample.height, sample.thickness))
    if sample.shape == "cuboid":
        corners = {
            "left-front-bottom-point": (-x, -y, -z),
            "left-front-top-point": (-x, y, -z),
            "left-back-bottom-point": (-x, -y, z),
            "right-front-bottom-point": (x, -y, -z),
        }
        inside = "".join(f'<{name} x="{a:.9g}" y="{b:.9g}" z="{c:.9g}"/>' for name, (a, b, c) in corners.items())
        return f'<cuboid id="sample-shape">{inside}</cuboid>'
    if sample.shape == "sphere":
        return f'<sphere id="sample-shape"><centre x="0" y="0" z="0"/><radius val="{x:.9g}"/></sphere>'
    base = f'<centre-of-bottom-base x="0" y="{-y:.9g}" z="0"/><axis x="0" y="1" z="0"/>'
    height = f'<height val="{sample.height:.9g}"/>'
    if sample.shape == "cylinder":
        return f'<cylinder id="sample-shape">{base}<radius val="{x:.9g}"/>{height}</cylinder>'
    walls = f'<inner-radius val="{x * (1 - _WALL):.9g}"/><outer-radius val="{x * (1 + _WALL):.9g}"/>'
    return f'<hollow-cylinder id="sample-shape">{base}{walls}{height}</hollow-cylinder>'


#: Half of the thickness of the wall that is written for an annulus, as a fraction of its radius: thin, and not nothing.
_WALL = 1e-3


def _cuboid(shape: ElementTree.Element) -> Sample:
    names = ("left-front-top-point", "left-back-bottom-point", "right-front-bottom-point")
    corner = _point(shape.find("left-front-bottom-point"))
    edges = np.array([_point(shape.find(name)) - corner for name in names])
    # a point inside is the sum of independent uniform parts of the edges
    return _cuboid_of((edges**2).sum(axis=0) / 12)


def _cylinder(shape: ElementTree.Element) -> Sample:
    radius, height = _value(shape, "radius"), _value(shape, "height")
    axis = _axis(shape)
    if abs(axis[1]) > _UPRIGHT:
        return Sample("cylinder", 2 * radius, height, 2 * radius)
    return _cuboid_of(radius**2 / 4 * (1 - axis**2) + height**2 / 12 * axis**2)


def _hollow_cylinder(shape: ElementTree.Element) -> Sample:
    inner, outer, height = (_value(shape, name) for name in ("inner-radius", "outer-radius", "height"))
    across, axis = (inner**2 + outer**2) / 4, _axis(shape)
    if abs(axis[1]) > _UPRIGHT:
        width = float(np.sqrt(8 * across))
        return Sample("annulus", width, height, width)
    return _cuboid_of(across * (1 - axis**2) + height**2 / 12 * axis**2)


def _sphere(shape: ElementTree.Element) -> Sample:
    size = 2 * _value(shape, "radius")
    return Sample("sphere", size, size, size)


_READERS: dict[str, Callable[[ElementTree.Element], Sample]] = {
    "cuboid": _cuboid,
    "cylinder": _cylinder,
    "hollow-cylinder": _hollow_cylinder,
    "sphere": _sphere,
}


def _cuboid_of(variances: np.ndarray) -> Sample:
    """The cuboid with these variances along x (across the beam), y (vertical) and z (along the beam)."""
    return Sample("cuboid", *(float(size) for size in np.sqrt(12 * variances)))


def _point(element: ElementTree.Element) -> np.ndarray:
    return np.array([float(element.get(name)) for name in ("x", "y", "z")])


def _axis(shape: ElementTree.Element) -> np.ndarray:
    axis = _point(shape.find("axis"))
    return axis / np.linalg.norm(axis)


def _value(shape: ElementTree.Element, name: str) -> float:
    value = float(shape.find(name).get("val"))
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value:g}")
    return value


def _of_flag(flag: float | None, sizes: list[float | None]) -> Sample | None:
    """The sample of ``geom_id`` and width, height, thickness (mm); None where a size is missing or 0."""
    kind = _FLAGS.get(None if flag is None else int(flag))
    if kind is None or not all(size is not None and size > 0 for size in sizes):
        return None
    width, height, thickness = (_MM * size for size in sizes)
    if kind == "cylinder":  # width and thickness are radii
        return Sample("cylinder", 2 * width, height, 2 * width)
    if kind == "flat plate":
        return Sample("cuboid", width, height, thickness)
    # a disc of radius `width` that stands across the beam
    return _cuboid_of(np.array([width**2 / 4, width**2 / 4, thickness**2 / 12]))
