"""Properties of workspaces and files."""

from pathlib import Path

from ..kernel import Direction, Property, PropertyWithValue
from ..kernel._enums import boost_enum
from ._ads import AnalysisDataService
from ._workspaces import GroupBody, Workspace, handle

PropertyMode = boost_enum("PropertyMode", Mandatory=0, Optional=1)
LockMode = boost_enum("LockMode", NoLock=0, Lock=1)
FileAction = boost_enum("FileAction", Save=0, OptionalSave=1, Load=2, OptionalLoad=3, Directory=4, OptionalDirectory=5)


class IWorkspaceProperty:
    pass


class WorkspaceProperty(Property, IWorkspaceProperty):
    _kinds = None  # any
    type = "Workspace"

    def __init__(
        self, name, defaultValue, direction, optional=PropertyMode.Mandatory, locking=LockMode.Lock, validator=None
    ):
        super().__init__(name, direction)
        self._name = self._default = defaultValue
        self._optional = PropertyMode(optional) == PropertyMode.Optional
        self._validator = validator
        self._held = None

    def isOptional(self):
        return self._optional

    @property
    def value(self):
        body = self._body
        return None if body is None or not self._fits(body) else handle(body)

    @property
    def _body(self):
        return self._held if self._held is not None else AnalysisDataService._body(self._name)

    @property
    def valueAsStr(self):
        return self._name

    @property
    def getDefault(self):
        return self._default

    @property
    def isDefault(self):
        return self._name == self._default and self._held is None

    @property
    def allowedValues(self):
        names = AnalysisDataService.getObjectNames()
        return [n for n in names if not self._problem_with(AnalysisDataService._body(n))]

    def _fits(self, body):
        return self._kinds is None or body.kind in self._kinds

    def _problem_with(self, body):
        if self._fits(body):
            return ""
        if isinstance(body, GroupBody) and all(self._fits(m) for m in body.members):
            return ""
        return f"Workspace {body.name} is not of the correct type"

    @property
    def isValid(self):
        if self.direction == Direction.Output:
            return "" if self._name or self._held or self._optional else "Enter a name for the Output workspace"
        if self._body is None:
            if self._name:
                return f'Workspace "{self._name}" was not found in the Analysis Data Service'
            return "" if self._optional else "Enter a name for the Input/InOut workspace"
        return self._problem_with(self._body)

    def _put(self, value):
        if isinstance(value, Workspace):
            body = value._body
            if problem := self._problem_with(body):
                raise ValueError(f"Invalid value for property {self.name}: {problem}")
            self._held = body
            if self.direction != Direction.Output:
                self._name = body.name
            return
        if not isinstance(value, str):
            raise TypeError(f"no registered converter takes {type(value).__name__} for property {self.name!r}")
        self._name, self._held = value, None
        if self.direction != Direction.Output and value:
            if problem := self.isValid:
                raise ValueError(f"Invalid value for property {self.name}: {problem}")
            self._held = AnalysisDataService._body(value)

    def _store(self):
        """Put what an output holds into the data service; the property lets go of it."""
        if self._held is not None and self._name and self.direction != Direction.Input:
            AnalysisDataService.addOrReplace(self._name, self._held)
            self._held = None


class IMDWorkspaceProperty(WorkspaceProperty):
    _kinds = ("MDHistoWorkspace",)
    type = "IMDWorkspace"


class IMDHistoWorkspaceProperty(WorkspaceProperty):
    _kinds = ("MDHistoWorkspace",)
    type = "IMDHistoWorkspace"


class IMDEventWorkspaceProperty(WorkspaceProperty):
    _kinds = ("MDEventWorkspace<MDEvent,2>", "MDEventWorkspace<MDEvent,4>")
    type = "IMDEventWorkspace"


class MatrixWorkspaceProperty(WorkspaceProperty):
    _kinds = ("Workspace2D",)
    type = "MatrixWorkspace"


class ITableWorkspaceProperty(WorkspaceProperty):
    _kinds = ("TableWorkspace",)
    type = "TableWorkspace"


class WorkspaceGroupProperty(WorkspaceProperty):
    _kinds = ("WorkspaceGroup",)
    type = "WorkspaceGroup"


class FileProperty(PropertyWithValue):
    def __init__(self, name, defaultValue, action, extensions=None, direction=Direction.Input):
        super().__init__(name, defaultValue, direction=direction)
        self._action = FileAction(action)
        self._extensions = [extensions] if isinstance(extensions, str) else list(extensions or ())

    @property
    def allowedValues(self):
        return self._extensions

    @property
    def isValid(self):
        if not self._value:
            return "" if self._action.name.startswith("Optional") else "No file specified."
        if self._action == FileAction.Load and not Path(self._value).is_file():
            return f'File "{self._value}" not found'
        return ""

    def _put(self, value):
        if not isinstance(value, str):
            raise TypeError(f"no registered converter takes {type(value).__name__} for property {self.name!r}")
        saving = self._action in (FileAction.Save, FileAction.OptionalSave)
        self._value = str(Path(value).absolute()) if value and saving else value
        if value and (problem := self.isValid):
            raise ValueError(f"Invalid value for property {self.name}: {problem}")


class MultipleFileProperty(Property):
    def __init__(self, name, action=FileAction.Load, extensions=None):
        super().__init__(name)
        self._action, self._extensions, self._value = FileAction(action), list(extensions or ()), []

    @property
    def value(self):
        return list(self._value)

    @property
    def valueAsStr(self):
        return ",".join(self._value)

    @property
    def isDefault(self):
        return not self._value

    @property
    def getDefault(self):
        return ""

    @property
    def isValid(self):
        missing = [p for p in self._value if not Path(p).is_file()]
        if missing:
            return f'File "{missing[0]}" not found'
        return "" if self._value or self._action.name.startswith("Optional") else "No file specified."

    def _put(self, value):
        self._value = [v.strip() for v in value.split(",") if v.strip()] if isinstance(value, str) else list(value)
        if self._value and (problem := self.isValid):
            raise ValueError(problem)
