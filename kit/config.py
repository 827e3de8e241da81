"""Configurations of lessons' models: dataclasses whose fields are checked."""

import dataclasses
import math


def variant(variants, name, changes):
    """The configuration `name` of {name: dataclass}, with `changes`, {field: value}.

    Raises ValueError for an unknown name or field.
    """
    if name not in list(variants):  # a name of any type is told
        known = ", ".join(variants)
        raise ValueError(f"there is no variant {name!r}; there are {known}")
    known = [field.name for field in dataclasses.fields(variants[name])]
    for field in changes:
        if field not in known:
            raise ValueError(f"a Config has no {field!r}; it has {', '.join(known)}")
    return dataclasses.replace(variants[name], **changes)


def check_fields(config, may_be_zero=()):
    """Raise ValueError for a field of a dataclass that is not what it should be.

    Numbers are above 0 (or 0), and whole where the field is; others are of their type.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.type in (int, float):
            whole = "whole " if field.type is int else ""
            least = "from 0 on" if field.name in may_be_zero else "above 0"
            wanted = f"a {whole}number {least}"
            right = is_number(value, field.type, field.name in may_be_zero)
        else:
            wanted = f"of type {getattr(field.type, '__name__', field.type)}"
            right = isinstance(value, field.type)
        if not right:
            raise ValueError(f"{field.name} should be {wanted}, not {value!r}")


def is_number(value, kind, zero):
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        return False
    return 0 < value < math.inf or (zero and value == 0)
