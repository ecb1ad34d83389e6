"""Validators: `_check(value)` gives '' or why the value will not do."""

from ._enums import CompositeRelation, LogicOperator, PropertyCriterion


class IValidator:
    def _check(self, value) -> str:
        return ""

    def _allowed(self) -> list[str]:
        return []


class StringListValidator(IValidator):
    def __init__(self, allowedValues=()):
        self._values = list(allowedValues)

    def addAllowedValue(self, value):
        self._values.append(value)

    def _allowed(self):
        return list(self._values)

    def _check(self, value):
        return "" if value in self._values else f'The value "{value}" is not in the list of allowed values'


class StringMandatoryValidator(IValidator):
    def _check(self, value):
        return "" if value else "A value must be entered for this parameter"


class _Bounded(IValidator):
    def __init__(self, lower=None, upper=None, exclusive=False):
        self._lower, self._upper, self._exclusive = lower, upper, exclusive

    def hasLower(self):
        return self._lower is not None

    def hasUpper(self):
        return self._upper is not None

    def lower(self):
        return self._lower

    def upper(self):
        return self._upper

    def _check(self, value):
        sign = "=" if self._exclusive else ""
        if self._lower is not None and (value < self._lower or self._exclusive and value == self._lower):
            return f"Selected value {value} is <{sign} the lower bound ({self._lower})"
        if self._upper is not None and (value > self._upper or self._exclusive and value == self._upper):
            return f"Selected value {value} is >{sign} the upper bound ({self._upper})"
        return ""


class FloatBoundedValidator(_Bounded):
    pass


class IntBoundedValidator(_Bounded):
    pass


class CompositeValidator(IValidator):
    def __init__(self, validators=(), relation=CompositeRelation.AND):
        self._validators, self._relation = list(validators), relation

    def add(self, other):
        self._validators.append(other)

    def _check(self, value):
        problems = [v._check(value) for v in self._validators]
        if self._relation == CompositeRelation.OR:
            return "" if not all(problems) else problems[0]
        return next(filter(None, problems), "")


class EnabledWhenProperty:
    def __init__(self, otherPropName, when, value=""):
        plain = (str, PropertyCriterion, str)
        if not all(map(isinstance, (otherPropName, when, value), plain)):
            own = type(self)  # two conditions of this very kind, joined by an operator
            if not all(map(isinstance, (otherPropName, when, value), (own, own, LogicOperator))):
                raise TypeError(f"{own.__name__} takes a name, a criterion and a text, or two of its kind")
        self._condition = (otherPropName, when, value)

    def isEnabled(self, alg):
        return self._holds(alg)

    def isVisible(self, alg):
        return True

    def _holds(self, alg):
        first, second, third = self._condition
        if isinstance(first, EnabledWhenProperty):
            one, other = first._holds(alg), second._holds(alg)
            return {LogicOperator.And: one and other, LogicOperator.Or: one or other, LogicOperator.Xor: one != other}[
                third
            ]
        prop = alg.getProperty(first)
        return {
            PropertyCriterion.IsDefault: prop.isDefault,
            PropertyCriterion.IsNotDefault: not prop.isDefault,
            PropertyCriterion.IsEqualTo: prop.valueAsStr == third,
            PropertyCriterion.IsNotEqualTo: prop.valueAsStr != third,
        }[second]


class VisibleWhenProperty(EnabledWhenProperty):
    def isEnabled(self, alg):
        return True

    def isVisible(self, alg):
        return self._holds(alg)
