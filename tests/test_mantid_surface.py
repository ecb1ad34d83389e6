"""The stand-in for Mantid has no name and takes no argument that Mantid, as recorded from a running one, has not."""

import importlib
import inspect
import json
import re
from pathlib import Path

import mantid
import pytest
from mantid.api import Workspace

STANDIN = Path(__file__).parent / "mantid_standin"
if not Path(mantid.__file__).is_relative_to(STANDIN):
    pytest.skip("this is Mantid itself, not the stand-in", allow_module_level=True)

#: What came after the recorded version (3.13), or that its introspection did not see.
NEWER = {
    "SpecialCoordinateSystem": {"NONE"},  # None there; and it moved from mantid.api to mantid.kernel
    "Property": {"type"},
    "IAlgorithm": {"checkGroups"},
    "Workspace": {"clone", "delete"},
}
#: Methods that Mantid calls and a Python algorithm gives.
GIVEN = {"PyInit", "PyExec", "checkGroups"}
#: Attributes that every Boost enumeration has.
MODULES = ("api", "kernel", "geometry", "dataobjects")


@pytest.fixture(scope="module")
def surface(shared):
    return json.loads((shared / "mantid" / "api-surface.json").read_text())["classes"]


def standin_classes() -> dict[str, type]:
    modules = [importlib.import_module(f"mantid.{m}") for m in MODULES]
    found = {n: o for m in modules for n, o in vars(m).items() if isinstance(o, type)}
    return {n: o for n, o in found.items() if not n.startswith("_")}


def members_of(recorded, surface) -> dict:
    """Members of a recorded class and of those it is made of."""
    found = {}
    for base in recorded["bases"]:
        found |= surface.get(base, {"members": {}})["members"]
    return found | recorded["members"]


def overloads(signatures) -> list[tuple[list[str], int]]:
    """Names of the arguments after self, and how many of them must be given, of each recorded overload."""
    found = []
    for signature in signatures if isinstance(signatures, list) else []:
        inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
        names = re.findall(r"\([\w.]+\)\s*(\w+)", inside)
        required = re.findall(r"\([\w.]+\)\s*(\w+)", inside.split("[")[0])
        static = bool(names) and names[0] not in ("self", "arg1")
        found.append((names if static else names[1:], len(required) - (not static)))
    return found


def arguments(function) -> tuple[list[str], int, bool]:
    """Names of the arguments after self, how many must be given, and whether more are taken."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    plain = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    more = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return [p.name for p in plain], sum(p.default is p.empty for p in plain), more


def test_there_is_much_to_compare(surface):
    assert len(set(standin_classes()) & set(surface)) >= 45


def test_no_name_that_mantid_has_not(surface):
    extra = {}
    for name, found in standin_classes().items():
        if name in surface:
            known = set(members_of(surface[name], surface))
            for base in inspect.getmro(found):
                known |= NEWER.get(base.__name__, set())
            own = {n for n in dir(found) if not n.startswith("_")} - set(dir(int)) - GIVEN
            if left := own - known - {"names", "values", "name", "value"}:
                extra[name] = sorted(left)
    assert extra == {}


def wrong_arguments(function, recorded) -> tuple | None:
    """What the stand-in takes beside what Mantid takes, if it takes more, other names, or gets along with less."""
    names, required, more = arguments(function)
    longest = max((a for a, _ in recorded), key=len)
    spelled = len(recorded) == 1 and not any(a.startswith("arg") for a in longest)
    good = len(names) <= len(longest) and (not spelled or names == longest[: len(names)])
    return None if more or good and required >= min(n for _, n in recorded) else (names, required, recorded)


def test_no_argument_that_mantid_has_not(surface):
    wrong = {}
    for name, found in standin_classes().items():
        members = members_of(surface[name], surface) if name in surface else {}
        for member, signatures in members.items():
            function = inspect.getattr_static(found, member, None)
            made_by_mantid = member == "__init__" and issubclass(found, Workspace)
            if inspect.isfunction(function) and overloads(signatures) and not made_by_mantid:
                wrong[f"{name}.{member}"] = wrong_arguments(function, overloads(signatures))
    assert len(wrong) > 300
    assert {name: found for name, found in wrong.items() if found} == {}


def test_enumerations_have_mantids_members(surface):
    for name, found in standin_classes().items():
        if name in surface and issubclass(found, int):
            members = {m for m, kind in surface[name]["members"].items() if kind == name}
            assert set(found.__members__) - NEWER.get(name, set()) <= members
