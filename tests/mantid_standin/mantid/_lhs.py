"""The names of the variables that the result of a call is assigned to."""

import dis

_STORES = {"STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF"}


def lhs_names(frame) -> tuple[int, list[str]]:
    """Number and names of the variables left of the call that `frame` is in; attributes and items have no name."""
    instructions = [i for i in dis.get_instructions(frame.f_code) if i.opname not in ("CACHE", "NOP")]
    after = [i for i in instructions if i.offset > frame.f_lasti]
    wanted = 1
    if after and after[0].opname == "UNPACK_SEQUENCE":
        wanted, after = after[0].arg, after[1:]
    names = []
    for instruction in after:
        if len(names) >= wanted:
            break
        if instruction.opname in _STORES:
            names.append(instruction.argval)
        elif instruction.opname == "STORE_FAST_STORE_FAST":
            names.extend(instruction.argval)
        elif instruction.opname == "STORE_FAST_LOAD_FAST":
            names.append(instruction.argval[0])
        else:
            break
    return (len(names), names[:wanted])
