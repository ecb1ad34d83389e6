"""Enumerations as Boost exports them: integers with `names` and `values`."""

from enum import IntEnum


def boost_enum(name: str, **members: int) -> type[IntEnum]:
    """An enumeration; keywords may be words like None that Python keeps for itself."""
    made = IntEnum(name, members)
    made.names = dict(made.__members__)
    made.values = {int(m): m for m in made}
    return made


Direction = boost_enum("Direction", **{"Input": 0, "Output": 1, "InOut": 2, "None": 3})
PropertyCriterion = boost_enum(
    "PropertyCriterion", IsDefault=0, IsNotDefault=1, IsEqualTo=2, IsNotEqualTo=3, IsMoreOrEqual=4
)
LogicOperator = boost_enum("LogicOperator", And=0, Or=1, Xor=2)
CompositeRelation = boost_enum("CompositeRelation", AND=0, OR=1)
SpecialCoordinateSystem = boost_enum("SpecialCoordinateSystem", NONE=0, QLab=1, QSample=2, HKL=3)
