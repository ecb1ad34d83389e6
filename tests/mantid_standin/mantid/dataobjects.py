"""mantid.dataobjects: the concrete workspaces."""

from .api._workspaces import MDHistoWorkspace  # noqa: F401
