"""Arguments of public functions: of the types that their signature says, or an error in our words."""

import functools
import inspect
import numbers
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from molvae.errors import UsageError, shorten

Function = TypeVar("Function", bound=Callable[..., Any])

_ABSTRACT: dict[type, type] = {int: numbers.Integral, float: numbers.Real}


def checked(function: Function) -> Function:
    """The function, which raises `UsageError` for an argument of another type than the one it is annotated with.

    Only the outermost type is looked at: of a list, that it is one. Numbers may be NumPy's.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        try:
            arguments = signature.bind(*given, **named).arguments
        except TypeError as error:
            raise UsageError(f"{function.__name__}: {error}") from None
        for name, value in arguments.items():
            wanted = _classes(signature.parameters[name].annotation, function)
            if wanted and not isinstance(value, wanted):
                kinds = " or ".join(sorted({"None" if one is type(None) else one.__name__ for one in wanted}))
                came = f"{shorten(repr(value))}, of the type {type(value).__name__}"
                raise UsageError(f"{function.__name__}: {name} is of the type {kinds}; this is {came}")
        return function(*given, **named)

    return typing.cast(Function, call)


def _classes(annotation: Any, function: Callable[..., Any]) -> tuple[type, ...]:
    """What an argument may be an instance of; nothing where that cannot be told."""
    if isinstance(annotation, str):  # a class that is imported only where it is needed: look where it is used
        names = {**function.__globals__, **_loaded(annotation)}
        try:
            annotation = eval(annotation, names)
        except NameError:
            return ()
    if annotation in (inspect.Parameter.empty, Any):
        return ()
    parts = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    found = [typing.get_origin(part) or part for part in parts]
    if not all(isinstance(part, type) and not typing.is_typeddict(part) for part in found):
        return ()
    if any(getattr(part, "_is_protocol", False) for part in found):
        return ()
    return tuple(_ABSTRACT.get(part, part) for part in found)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _loaded(annotation: str) -> dict[str, Any]:
    if "pd." not in annotation:
        return {}
    import pandas as pd

    return {"pd": pd}
