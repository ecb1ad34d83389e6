"""mantid.kernel: properties, validators, logs, configuration."""

import os
import sys
from pathlib import Path

from ._enums import (  # noqa: F401
    CompositeRelation,
    Direction,
    LogicOperator,
    PropertyCriterion,
    SpecialCoordinateSystem,
)
from ._properties import (  # noqa: F401
    FloatArrayProperty,
    IntArrayProperty,
    Property,
    PropertyWithValue,
    StringArrayProperty,
)
from ._validators import (  # noqa: F401
    CompositeValidator,
    EnabledWhenProperty,
    FloatBoundedValidator,
    IntBoundedValidator,
    IValidator,
    StringListValidator,
    StringMandatoryValidator,
    VisibleWhenProperty,
)


class Logger:
    def __init__(self, name):
        self._name = name

    def _say(self, level, message):
        print(f"{self._name}-[{level}] {message}", file=sys.stdout, flush=True)

    def debug(self, message):
        pass

    def information(self, message):
        pass

    def notice(self, message):
        self._say("Notice", message)

    def warning(self, message):
        self._say("Warning", message)

    def error(self, message):
        self._say("Error", message)

    def fatal(self, message):
        self._say("Fatal", message)


logger = Logger("Python")


class ConfigServiceImpl:
    """What the user's properties file says, read at start-up as Mantid does."""

    def __init__(self):
        self._values = {"Q.convention": "Inelastic", "user.python.plugins.directories": ""}
        path = Path(self.getUserFilename())
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for line in lines:
            key, sign, value = line.partition("=")
            if sign and not key.lstrip().startswith(("#", "!")):
                self._values[key.strip()] = value.strip()

    def getUserPropertiesDir(self):
        return os.path.join(os.path.expanduser("~"), ".mantid") + os.sep

    def getUserFilename(self):
        return self.getUserPropertiesDir() + "Mantid.user.properties"

    def hasProperty(self, rootName):
        return rootName in self._values

    def getString(self, key, use_cache=True):
        return self._values.get(key, "")

    def setString(self, key, value):
        self._values[key] = value

    def keys(self):
        return list(self._values)

    def __getitem__(self, key):
        return self.getString(key)

    def __setitem__(self, key, value):
        self.setString(key, value)


ConfigService = config = ConfigServiceImpl()


class DataItem:
    """Base of what the data service holds."""
