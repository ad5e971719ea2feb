"""What a recipe can choose by ``kind``: our parts, those that installed packages announce, and any class by its path.

A recipe's field is annotated with a registry, ``surrogate: Annotated[Surrogate, SURROGATES] = AdditiveGP()``, and takes
``{kind = "additive", …}``, ``{kind = "package.module:Class", …}``, or the name of an entry point of the group
``molvae.surrogates``. A class from outside is a `molvae.config.Component` that has what the protocol asks for.
"""

import contextlib
import hashlib
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from molvae.config import Component, kinds, nearest
from molvae.errors import ForeignError, RecipeError
from molvae.foreign import attempt


class Registry:
    """The parts of one sort.

    Args:
        noun: what one is called in messages, "surrogate".
        protocol: what each must have; see `missing`.
        members: our own, each with a ``kind`` of its own.
        plural: of the noun, where that is not the noun and an s; its entry points are of the group ``molvae.<plural>``.
    """

    def __init__(self, noun: str, protocol: type, members: tuple[type[Component], ...], plural: str = "") -> None:
        self.noun, self.protocol, self.members = noun, protocol, members
        self.group = f"molvae.{(plural or noun + 's').replace(' ', '_')}"
        REGISTRIES[noun] = self

    @property
    def kinds(self) -> dict[str, type[Component]]:
        """Our own parts by kind."""
        return {kind: member for member in self.members for kind in kinds(member)}

    def announced(self) -> dict[str, str]:
        """Import paths of the parts that installed packages announce, by name."""
        return {point.name: point.value for point in entry_points(group=self.group)}

    def described(self) -> dict[str, str]:
        """What each part is, in a line: the first of its docstring; of an announced one the import path."""
        ours = {kind: (inspect.getdoc(member) or "").partition("\n")[0] for kind, member in self.kinds.items()}
        return ours | {name: path for name, path in self.announced().items() if name not in ours}

    def find(self, kind: str) -> type[Component]:
        """The class of a kind.

        Raises:
            ValueError: there is none, it cannot be imported, or it is not such a part; says what is missing.
        """
        if kind in self.kinds:
            return self.kinds[kind]
        path = kind if ":" in kind else self.announced().get(kind)
        if path is None:
            hint = nearest(kind, [*self.kinds, *self.announced()])
            raise ValueError(f"there is no kind {kind!r}{hint or '; one of your own is written package.module:Class'}")
        try:
            found = import_path(path)
        except ImportError as error:
            raise ValueError(f"the {self.noun} {kind!r} cannot be had: {error}") from None
        if lacks := missing(found, self.protocol):
            raise ValueError(f"{kind!r} is no {self.noun}: {'; '.join(lacks)}")
        part: type[Component] = found
        return part

    def kind_of(self, part: type) -> str:
        """What a record calls a part: our kind, or the import path."""
        return next((kind for kind, member in self.kinds.items() if member is part), path_of(part))

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """A field that takes a table with ``kind``, or a part."""
        return core_schema.with_info_plain_validator_function(
            self._part, serialization=core_schema.plain_serializer_function_ser_schema(self._table, info_arg=True)
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """A table with ``kind``."""
        kind = {"type": "string", "examples": list(self.kinds)}
        return {"type": "object", "properties": {"kind": kind}, "required": ["kind"]}

    def _part(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        if isinstance(value, BaseModel):
            if type(value) not in self.members and (lacks := missing(type(value), self.protocol)):
                raise PydanticCustomError(
                    "no_such_part", "{what}", {"what": f"this is no {self.noun}: {'; '.join(lacks)}"}
                )
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError("table_type", "Input should be an object")
        kind = value.get("kind")
        if not isinstance(kind, str):
            raise PydanticCustomError("no_such_kind", "the key 'kind' is required here")
        try:
            part = self.find(kind)
        except ValueError as error:
            raise PydanticCustomError("no_such_kind", "{why}", {"why": str(error)}) from None
        settings = {key: one for key, one in value.items() if key not in part.REMOVED or one != part.REMOVED[key]}
        if kind not in self.kinds:
            del settings["kind"]
        try:
            if info.mode == "json":
                return part.model_validate_json(json.dumps(settings), strict=True)
            return part.model_validate(settings)
        except ValidationError as error:
            details = [_below(kind, item) for item in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(part.__name__, details) from None

    def _table(self, part: Component, info: core_schema.SerializationInfo) -> dict[str, Any]:
        return {**part.model_dump(mode=info.mode), "kind": self.kind_of(type(part))}


REGISTRIES: dict[str, Registry] = {}
"""Every registry by its noun; filled where each is made, never afterwards."""


def _below(kind: str, item: Any) -> InitErrorDetails:
    """An error inside a part, as one of the field that holds it."""
    known = (
        item["type"] if item["type"] not in _OURS else PydanticCustomError(item["type"], "{msg}", {"msg": item["msg"]})
    )
    return InitErrorDetails(type=known, loc=(kind, *item["loc"]), input=item["input"], ctx=item.get("ctx", {}))


_OURS = ("no_such_kind", "no_such_part", "table_type")


def missing(part: Any, protocol: type) -> list[str]:
    """What a class lacks of a protocol, in words; nothing where it fits."""
    if not (isinstance(part, type) and issubclass(part, Component)):
        return ["it is not a class whose base is molvae.Component"]
    fields = part.model_fields
    found = []
    for name in asked(protocol):
        wanted = getattr(protocol, name, None)
        if name not in fields and not any(name in vars(base) for base in part.__mro__):  # each class has a __call__
            found.append(f"it lacks {name}{_parameters(wanted) if callable(wanted) else ''}")
        elif callable(wanted) and not isinstance(wanted, property) and not _takes(getattr(part, name), wanted):
            found.append(f"{name} is called with {_parameters(wanted)}, and takes {_parameters(getattr(part, name))}")
    return found


def asked(protocol: type) -> list[str]:
    """Names of what a protocol asks for: attributes, then methods."""
    own = [name for name in vars(protocol) if name == "__call__" or not name.startswith("_")]
    return list(dict.fromkeys([*inspect.get_annotations(protocol), *own]))


def _takes(method: Callable[..., Any], wanted: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(wanted).parameters.values())
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    try:
        bound = inspect.signature(method)
        bound.bind(*([None] if "self" in bound.parameters else []), *[None for _ in positional])
    except TypeError:
        return False
    return True


def _parameters(method: Callable[..., Any]) -> str:
    return f"({', '.join(name for name in inspect.signature(method).parameters if name != 'self')})"


_FROM_HERE = ContextVar("whether parts are imported from the current folder, too", default=True)


@contextlib.contextmanager
def only_installed() -> Iterator[None]:
    """What is read meanwhile imports no module of the current folder, unless that is on Python's path already.

    A recipe is its reader's own; a model folder may come from anybody, who knows what lies in its reader's folder.
    """
    token = _FROM_HERE.set(False)
    try:
        yield
    finally:
        _FROM_HERE.reset(token)


def import_path(path: str) -> Any:
    """What ``"package.module:name"`` names, from an installed package or, last, the current folder.

    A recipe that names a module is code: importing the module runs it. See `only_installed` for what is no recipe.

    Raises:
        ImportError: it is written otherwise, the module cannot be imported, or lacks the name; says so in a line.
    """
    module, colon, name = path.partition(":")
    if not (colon and all(part.isidentifier() for part in [*module.split("."), *name.split(".")])):
        raise ImportError(f"{path!r} is not written package.module:Name")
    try:
        found: Any = attempt(lambda: import_last(module))
    except ForeignError as error:
        where = "run from its folder" if _FROM_HERE.get() else "put its folder on PYTHONPATH"
        raise ImportError(f"the module {module!r} cannot be imported ({error}); install it, or {where}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            public = [known for known in vars(found) if not known.startswith("_")]
            raise ImportError(f"the module {module!r} has no {name!r}{nearest(part, public)}")
        found = getattr(found, part)
    return found


def import_last(name: str) -> ModuleType:
    """Import a module; from the working directory, last on the path from then on, if it is nowhere else.

    A recipe that names a module is code: importing the module runs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        folder = os.getcwd()
        if error.name != name.partition(".")[0] or folder in sys.path or not _FROM_HERE.get():
            raise
    sys.path.append(folder)
    try:
        return importlib.import_module(name)
    except BaseException:
        sys.path.remove(folder)
        raise


def path_of(part: type | FunctionType) -> str:
    """The import path of a class or function."""
    return f"{part.__module__}:{part.__qualname__}"


def parts_of(recipe: Component) -> dict[str, dict[str, str]]:
    """Import path and package version of every part that a recipe chose, by its dotted key.

    Raises:
        RecipeError: a part could not be found again by its path, so that the run could not be resumed.
    """
    return {key: _described(key, type(part)) for key, part in _chosen(recipe, "")}


def _chosen(value: Any, key: str) -> Iterator[tuple[str, Component]]:
    if isinstance(value, Component):
        if key:
            yield key, value
        for name in type(value).model_fields:
            yield from _chosen(getattr(value, name), f"{key}.{name}" if key else name)
    elif isinstance(value, tuple):
        for k, one in enumerate(value):
            yield from _chosen(one, f"{key}.{k}")


def _described(key: str, part: type) -> dict[str, str]:
    path = path_of(part)
    try:
        same = import_path(path) is part
    except ImportError:
        same = False
    if not same or part.__module__ == "__main__":
        raise RecipeError(
            f"{key} is a {part.__name__} that cannot be found again as {path}, so the run could not be resumed; "
            "put the class at the top of a module of its own, beside your script or in a package"
        )
    return {"path": path, "version": package_version(part.__module__)}


def package_version(module: str) -> str:
    """Name and version of the package that a module came with; of a file on its own, its SHA-256 in 16 digits."""
    top = module.partition(".")[0]
    for name in (top, *packages_distributions().get(top, ())) if top != "molvae" else ("molvae",):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    file = getattr(sys.modules.get(module), "__file__", None)
    return f"sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]}" if file else "unknown"
