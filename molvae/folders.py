"""Files that are whole or absent: atomic writes, manifests written last, one writer a folder.

Model folders, prepared corpora, downloads and runs are all folders made with these few functions.
"""

import contextlib
import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from molvae.config import Component, Recipe, as_table, differing_keys, read_record
from molvae.errors import FolderBusy, FolderError, RecipeError
from molvae.registry import parts_of
from molvae.signals import defer_signals

log = logging.getLogger("molvae")

MANIFEST = "manifest.json"
PARTS = "parts.json"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``; moved onto it, flushed to the disk, when the block ends well.

    Whatever happens inside (a full disk, an exception, a kill), ``path`` holds the old content or the new, never
    a part. The name keeps its ending, since writers choose their format by it.
    """
    path = Path(path)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        why = "there is a file where its folder should be" if path.parent.is_file() else error.strerror or error
        raise FolderError(f"{path} could not be written: {why}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_atomic(path: str | Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Write text, bytes, or what a function writes into an open binary file, all or nothing; Ctrl-C waits for it."""
    with defer_signals(), atomic_path(path) as partial, open(partial, "wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, indented, all or nothing."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: str | Path, files: list[str], **facts: Any) -> None:
    """Write the folder's manifest: ``facts``, and size and SHA-256 of each file. To be called last."""
    folder = Path(folder)
    entries = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in files}
    write_json(folder / MANIFEST, {**facts, "files": entries})


def unseal(folder: str | Path, verify: bool = True) -> dict[str, Any]:
    """The folder's manifest, after each file was compared with it (sizes always, hashes if ``verify``).

    Raises:
        FolderError: no folder, no manifest (it was never finished), or a file that is missing or differs.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FolderError(f"there is no folder {folder}")
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        entries = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except FileNotFoundError:
        raise FolderError(f"{folder} has no {MANIFEST}: it was never finished, or is something else") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise FolderError(f"{folder / MANIFEST} is damaged or not one of molvae's: {error!r}") from error
    for name, (size, digest) in entries.items():
        path = folder / name
        if not path.is_file():
            raise FolderError(f"{folder} is damaged: {name} is missing")
        if path.stat().st_size != size or (verify and sha256(path) != digest):
            raise FolderError(f"{folder} is damaged: {name} differs from what the manifest says")
    return manifest


@contextlib.contextmanager
def only_writer(folder: str | Path, what: str) -> Iterator[None]:
    """Be the folder's only writer; the operating system frees the lock when the process ends, however it ends.

    What a killed writer left half-written is removed.

    Args:
        folder: made if it does not exist.
        what: the subject of the message, such as ``"this campaign"``.

    Raises:
        FolderBusy: "this campaign is running in process 123 (runs/demo)".
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "there is a file of that name" if folder.is_file() else error.strerror or error
        raise FolderError(f"{folder} cannot be made: {why}") from error
    lock, holder = FileLock(folder / ".lock"), folder / ".pid"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        process = holder.read_text() if holder.exists() else "(unknown)"
        raise FolderBusy(f"{what} is running in process {process} ({folder}); wait for it or stop it") from None
    except OSError as error:
        raise FolderError(f"{folder} cannot be locked: {error.strerror or error}") from error
    try:
        write_atomic(holder, str(os.getpid()))
        for left in (*folder.glob(".partial-*"), *folder.glob("*/.partial-*")):
            left.unlink(missing_ok=True)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def pin_recipe(folder: str | Path, recipe: Component) -> None:
    """Keep the recipe in the run folder, and where its parts come from; refuse others than the folder was begun with.

    A package version that differs is let through with a warning, and added to the record.

    Raises:
        RecipeError: names each key that differs; or a part could not be found again by its path.
    """
    folder, parts = Path(folder), parts_of(recipe)
    path = folder / "recipe.json"
    if not path.exists():
        write_json(folder / PARTS, {key: [part] for key, part in parts.items()})
        write_json(path, as_table(recipe))
        return
    kept = read_recorded(path, type(recipe))
    changed = differing_keys(as_table(kept), as_table(recipe))
    if changed:
        raise RecipeError(
            f"{folder} was begun with another recipe; what differs (old → new):\n"
            + "\n".join(f"  {line}" for line in changed)
            + "\ntake another --out folder, or the old recipe"
        )
    _pin_parts(folder / PARTS, parts)


def read_recorded(path: Path, schema: type[Recipe]) -> Recipe:
    """The recipe that a run folder keeps.

    Raises:
        FolderError: the file is damaged.
        RecipeError: it is of another version of molvae, or was edited.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise FolderError(f"{path} is damaged: {error}; take another --out folder") from error
    if not isinstance(table, dict):
        raise FolderError(f"{path} is damaged: it holds {json.dumps(table)[:40]}, no recipe; take another --out folder")
    try:
        return read_record(table, schema, str(path))
    except RecipeError as error:
        raise RecipeError(
            f"{error}\nThe run was begun with another recipe, or begun by another version of molvae, or the file was "
            "edited; nothing is lost: take another --out folder, open it with that version, or put the file right"
        ) from error


def _pin_parts(path: Path, parts: dict[str, dict[str, str]]) -> None:
    """Compare where the parts of a recipe come from with the record; runs of earlier releases have none."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        changed = False
        for key, part in parts.items():
            before = kept.setdefault(key, [part])[-1]
            if before["path"] != part["path"]:
                raise RecipeError(f"{key} was {before['path']} and is {part['path']} now; take another --out folder")
            if before["version"] != part["version"] and not part["path"].startswith("molvae."):
                log.warning("%s: %s was of %s, and is of %s now", key, part["path"], before["version"], part["version"])
            if before["version"] != part["version"]:
                kept[key].append(part)
                changed = True
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OSError) as error:
        raise FolderError(f"{path} is damaged: {error!r}; take another --out folder") from error
    if changed or not path.exists():
        write_json(path, kept)


@contextlib.contextmanager
def unfinished(folder: str | Path) -> Iterator[None]:
    """Mark a folder as ours while it is being filled; what a killed process left in it may then be replaced.

    To be used by the folder's `only_writer`.

    Raises:
        FolderError: it holds files, yet neither this mark nor a manifest: they are somebody else's.
    """
    folder = Path(folder)
    mark = folder / ".unfinished"
    others = sorted(path.name for path in folder.iterdir() if path.name not in (".lock", ".pid"))
    if others and not mark.exists() and not (folder / MANIFEST).exists():
        names = ", ".join(others[:3]) + (" …" if len(others) > 3 else "")
        raise FolderError(f"{folder} holds other files already ({names}); take a new or an empty folder")
    write_atomic(mark, "")
    yield
    mark.unlink(missing_ok=True)


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/molvae``, or ``~/.cache/molvae``, made if need be: for compiled code, which is run as it is.

    Raises:
        FolderError: it cannot be made, it is a link, or another user could put files there.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME", "")) / "molvae"
    try:
        if not folder.is_absolute():  # the XDG specification: to be ignored
            folder = Path.home() / ".cache" / "molvae"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        why = "it is a link" if folder.is_symlink() else others_may_write(folder)
        if not why:
            folder.chmod(0o700)  # which fails unless it is this user's
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        why = getattr(error, "strerror", None) or str(error)
    if why:
        raise FolderError(f"{folder} is no safe cache: {why}; set XDG_CACHE_HOME to a folder that is yours alone")
    return folder


def others_may_write(folder: str | Path) -> str:
    """Why somebody besides this user and root could put files into a folder, or replace it; empty if nobody could.

    A parent that others can write to is fine where the sticky bit is set, as on ``/tmp``. Systems without user ids
    pass.
    """
    if not hasattr(os, "getuid"):
        return ""
    path = Path(os.path.abspath(folder))
    real = path.resolve()
    for place in (path, *path.parents, real, *real.parents):
        found = place.lstat()
        if found.st_uid not in (0, os.getuid()):
            return f"{place} belongs to another user"
        shared = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _group_of_one(found))
        sticky = found.st_mode & stat.S_ISVTX and place != real  # nobody there replaces what is somebody else's
        if shared and not sticky and not stat.S_ISLNK(found.st_mode):
            return f"others can write to {place}"
    return ""


def _group_of_one(found: os.stat_result) -> bool:
    """Whether a file's group is its owner's alone: many systems give each user one, of the same name."""
    import grp
    import pwd

    try:
        owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    return group.gr_name == owner and set(group.gr_mem) <= {owner}
