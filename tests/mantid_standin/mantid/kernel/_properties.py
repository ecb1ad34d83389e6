"""Properties with Mantid's strictness of types: Python numbers pass, most NumPy scalars do not."""

import numpy as np

from ._enums import Direction


class Property:
    EMPTY_DBL = 8.988465674311579e307
    EMPTY_INT = 2147483647
    EMPTY_LONG = 9223372036854775807
    type = "property"

    def __init__(self, name, direction=Direction.Input):
        self.name = name
        self.direction = Direction(direction)
        self.documentation = ""
        self.units = ""
        self.settings = None
        self._group = ""

    @property
    def getGroup(self):
        return self._group

    @property
    def allowedValues(self):
        return []

    @property
    def isValid(self):
        return ""


class PropertyWithValue(Property):
    """A value of one Python type."""

    def __init__(self, name, defaultValue, validator=None, direction=Direction.Input):
        super().__init__(name, direction)
        self._kind = type(defaultValue)
        self._default = self._value = defaultValue
        self._validator = validator

    @property
    def type(self):
        return {bool: "boolean", int: "number", float: "number", str: "string"}[self._kind]

    @property
    def value(self):
        return self._value

    @property
    def valueAsStr(self):
        return str(int(self._value)) if self._kind is bool else str(self._value)

    @property
    def getDefault(self):
        return str(self._default)

    @property
    def isDefault(self):
        return self._value == self._default

    @property
    def allowedValues(self):
        return self._validator._allowed() if self._validator else []

    @property
    def isValid(self):
        return self._validator._check(self._value) if self._validator else ""

    def _put(self, value):
        if isinstance(value, str):
            value = self._from_string(value)
        elif self._kind is str or not isinstance(value, self._accepted()):
            raise TypeError(f"no registered converter takes {type(value).__name__} for property {self.name!r}")
        self._assign(self._kind(value))

    def _accepted(self):
        return {bool: (bool, int), int: (int,), float: (float, int)}[self._kind]

    def _from_string(self, text):
        if self._kind is bool:
            if text.lower() not in ("0", "1", "true", "false"):
                raise ValueError(f"Invalid value for property {self.name} (bool) from string {text!r}")
            return text.lower() in ("1", "true")
        try:
            return self._kind(text)
        except ValueError as error:
            raise ValueError(f"Invalid value for property {self.name} from string {text!r}: {error}") from None

    def _assign(self, value):
        problem = self._validator._check(value) if self._validator else ""
        if problem:
            raise ValueError(f'When setting value of property "{self.name}": {problem}')
        self._value = value


class _Array(Property):
    _item = float
    type = "list"

    def __init__(self, name, values=(), validator=None, direction=Direction.Input):
        if isinstance(values, int):  # the overload (name, direction)
            values, direction = (), values
        super().__init__(name, direction)
        self._validator = validator
        self._value = self._default = self._converted(values)

    def _converted(self, values):
        if isinstance(values, str):
            values = [v.strip() for v in values.split(",")] if values.strip() else []
        if not isinstance(values, list | tuple | np.ndarray):
            raise TypeError(f"property {self.name!r} takes a list, a tuple or an array, not {type(values).__name__}")
        return [self._item(v) for v in np.asarray(values).ravel().tolist()]

    @property
    def value(self):
        return np.array(self._value, dtype=self._item)

    @property
    def valueAsStr(self):
        return ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in self._value)

    @property
    def getDefault(self):
        return ",".join(map(str, self._default))

    @property
    def isDefault(self):
        return self._value == self._default

    @property
    def isValid(self):
        return self._validator._check(self._value) if self._validator else ""

    def _put(self, value):
        value = self._converted(value)
        if self._validator and (problem := self._validator._check(value)):
            raise ValueError(problem)
        self._value = value


class FloatArrayProperty(_Array):
    _item = float


class IntArrayProperty(_Array):
    _item = int


class StringArrayProperty(_Array):
    _item = str

    @property
    def value(self):
        return list(self._value)
