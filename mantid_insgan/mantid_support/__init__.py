"""Mantid's side: properties of the algorithms, live workspaces, installation, autoreduction."""
