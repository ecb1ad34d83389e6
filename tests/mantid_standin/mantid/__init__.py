"""A stand-in for Mantid in tests, where Mantid is not installed.

It has the part of Mantid's Python interface that the plug-ins use, and behaves as a running Mantid does where that
has traps: live read-only views, weak handles, types that are taken or refused, float32 dimensions, errors that lose
their type. It computes nothing that the project computes.
"""

__version__ = "0.0.0"
