"""Whole or absent: full disks, kills and second writers, with real files and processes."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from molvae.config import Component
from molvae.errors import FolderBusy, FolderError, RecipeError
from molvae.folders import (
    atomic_path,
    cache_folder,
    only_writer,
    others_may_write,
    pin_recipe,
    seal,
    sha256,
    unfinished,
    unseal,
    write_atomic,
    write_json,
)

with_users = pytest.mark.skipif(not hasattr(os, "getuid"), reason="no user ids")

FULL_DISK = """
import os, subprocess, sys
from molvae.errors import FolderError
from molvae.folders import write_atomic
disk = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
path = f"{disk}/file.txt"
write_atomic(path, "old")
try:
    write_atomic(path, "new" * 100_000)
except FolderError as error:
    print(error)
print(open(path).read(), os.listdir(disk))
"""

HOLD = """
import sys, time
from molvae.folders import only_writer, write_atomic, atomic_path
with only_writer(sys.argv[1], "this campaign"), atomic_path(sys.argv[1] + "/table.csv") as partial:
    partial.write_text("half of")
    print("ready", flush=True)
    time.sleep(60)
"""


class Settings(Component):
    """A recipe."""

    seed: int = 0
    size: int = 1


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["text é", b"bytes", lambda file: file.write(b"streamed")])
def test_a_written_file_is_whole_and_alone(tmp_path, content):
    write_atomic(tmp_path / "new" / "a.txt", content)
    expected = {"text é": "text é".encode(), b"bytes": b"bytes"}.get(content, b"streamed")
    assert (tmp_path / "new" / "a.txt").read_bytes() == expected
    assert names(tmp_path / "new") == ["a.txt"]


def test_an_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with contextlib.suppress(KeyError), atomic_path(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_temporary_name_keeps_the_ending(tmp_path):
    with atomic_path(tmp_path / "a.csv.gz") as partial:
        assert partial.name.endswith("a.csv.gz")
        assert partial.parent == tmp_path
        partial.write_text("")


def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path):
    unshare = shutil.which("unshare")
    command = [unshare or "", "--user", "--map-root-user", "--mount", sys.executable, "-c", FULL_DISK, str(tmp_path)]
    if unshare is None or subprocess.run([*command[:4], "true"], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    run = subprocess.run(command, capture_output=True, text=True)
    if "mount" in run.stderr:
        pytest.skip(run.stderr)
    assert run.stdout.splitlines() == [
        f"{tmp_path}/file.txt could not be written: No space left on device",
        "old ['file.txt']",
    ]


@pytest.mark.parametrize("where", ["file/child.txt", "folder", "n" * 300])
def test_a_place_that_cannot_be_written_is_said(tmp_path, where):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FolderError, match="could not be written"):
        write_atomic(tmp_path / where, "x")


def test_a_disk_that_fails_to_flush_is_said(tmp_path, monkeypatch):
    write_atomic(tmp_path / "a", "old")

    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(FolderError, match="Input/output error"):
        write_atomic(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.fixture
def sealed(tmp_path):
    (tmp_path / "a.txt").write_text("alpha")
    (tmp_path / "b.txt").write_text("beta")
    seal(tmp_path, ["a.txt", "b.txt"], kind="letters", count=2)
    return tmp_path


def test_a_sealed_folder_tells_its_facts_and_files(sealed):
    manifest = unseal(sealed)
    assert (manifest["kind"], manifest["count"]) == ("letters", 2)
    assert manifest["files"]["a.txt"] == {"bytes": 5, "sha256": sha256(sealed / "a.txt")}


def test_hashes_are_of_the_content(sealed):
    assert sha256(sealed / "a.txt") == "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"


def test_a_changed_byte_is_found_by_its_hash(sealed):
    (sealed / "b.txt").write_text("bets")
    with pytest.raises(FolderError, match=r"damaged: b\.txt differs"):
        unseal(sealed)
    assert unseal(sealed, verify=False)["count"] == 2


def test_another_size_is_found_without_hashing(sealed):
    (sealed / "b.txt").write_text("betas")
    with pytest.raises(FolderError, match=r"b\.txt differs"):
        unseal(sealed, verify=False)


def test_a_missing_file_is_named(sealed):
    (sealed / "a.txt").unlink()
    with pytest.raises(FolderError, match=r"a\.txt is missing"):
        unseal(sealed)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"files": ["a.txt"]}', '{"files": {"a.txt": {}}}', '{"name": "an app"}']
)
def test_a_manifest_that_is_damaged_or_foreign_is_refused(sealed, text):
    (sealed / "manifest.json").write_text(text)
    with pytest.raises(FolderError, match=r"manifest\.json is damaged or not one of molvae's"):
        unseal(sealed)


def test_a_folder_without_a_manifest_was_never_finished(tmp_path):
    with pytest.raises(FolderError, match="never finished"):
        unseal(tmp_path)
    with pytest.raises(FolderError, match="there is no folder"):
        unseal(tmp_path / "nothing")


def test_a_second_writer_hears_who_is_first_and_a_kill_frees_the_folder(tmp_path):
    folder = tmp_path / "run"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        with (
            pytest.raises(FolderBusy, match=f"this campaign is running in process {first.pid} "),
            only_writer(folder, "this campaign"),
        ):
            pass
        assert (folder / f".partial-{first.pid}-table.csv").exists()
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with only_writer(folder, "this campaign"):
        assert (folder / ".pid").read_text() == str(os.getpid())
        assert [name for name in names(folder) if "table" in name] == []  # nor is the half file left
    assert ".pid" not in names(folder)


def test_the_folder_is_free_after_an_exception(tmp_path):
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path, "this"):
        raise ZeroDivisionError
    with only_writer(tmp_path, "this"):
        pass


def test_a_file_in_the_folders_place_is_said(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FolderError, match="cannot be made"), only_writer(tmp_path / "run", "this"):
        pass


def test_a_folder_stays_with_the_recipe_it_was_begun_with(tmp_path):
    pin_recipe(tmp_path, Settings(seed=1))
    pin_recipe(tmp_path, Settings(seed=1))
    with pytest.raises(RecipeError, match=r"(?s)seed: 1 → 2.*take another --out") as caught:
        pin_recipe(tmp_path, Settings(seed=2))
    assert "size" not in str(caught.value)
    assert json.loads((tmp_path / "recipe.json").read_text()) == {"seed": 1, "size": 1}


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_kept_recipe_is_said(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(FolderError, match=r"recipe\.json is damaged"):
        pin_recipe(tmp_path, Settings())


def test_what_somebody_else_made_is_never_filled(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(FolderError, match=r"holds other files already \(thesis\.docx\)"), unfinished(tmp_path):
        pass
    assert names(tmp_path) == ["thesis.docx"]


def test_what_was_left_unfinished_may_be_filled_again(tmp_path):
    with contextlib.suppress(KeyError), unfinished(tmp_path):
        (tmp_path / "part").write_text("")
        raise KeyError
    with unfinished(tmp_path):
        pass
    assert names(tmp_path) == ["part"]


def test_json_is_written_readable(tmp_path):
    write_json(tmp_path / "a.json", {"β": [1]})
    assert (tmp_path / "a.json").read_text() == '{\n  "β": [\n    1\n  ]\n}\n'


def test_a_file_where_a_folder_should_be_is_told_so(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(FolderError, match=r"a\.json could not be written: there is a file where its folder should be"):
        write_json(tmp_path / "taken" / "a.json", {})
    with (
        pytest.raises(FolderError, match="taken cannot be made: there is a file of that name"),
        only_writer(tmp_path / "taken", "this run"),
    ):
        pass


class TestCache:
    @pytest.fixture
    def base(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_it_is_made_for_this_user_alone(self, base):
        assert cache_folder() == base / "molvae"
        assert (base / "molvae").stat().st_mode & 0o777 == 0o700

    def test_that_of_a_former_version_is_closed(self, base):
        (base / "molvae").mkdir(parents=True, mode=0o755)
        assert cache_folder().stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("value", ["", ".", "cache"])
    def test_without_an_absolute_path_it_is_in_the_home_folder(self, tmp_path, monkeypatch, value):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        monkeypatch.chdir(tmp_path)
        assert cache_folder() == tmp_path / ".cache" / "molvae"

    @with_users
    @pytest.mark.parametrize(
        ("mode", "place", "said"),
        [
            (0o777, "cache", "others can write to .*cache"),
            (0o1777, "cache", None),  # as /tmp is: what is ours there, nobody replaces
            (0o702, "cache/molvae", "others can write to .*molvae"),
            (0o1777, "cache/molvae", "others can write to .*molvae"),
            (0o755, "cache", None),
        ],
    )
    def test_nobody_else_may_write_there_or_replace_it(self, base, tmp_path, mode, place, said):
        cache_folder()
        (tmp_path / place).chmod(mode)
        if said is None:
            assert cache_folder() == base / "molvae"
        else:
            with pytest.raises(FolderError, match=f"molvae is no safe cache: {said}; set XDG_CACHE_HOME to"):
                cache_folder()

    @with_users
    def test_it_is_no_link(self, base):
        (base / "elsewhere").mkdir(parents=True)
        (base / "molvae").symlink_to("elsewhere")
        with pytest.raises(FolderError, match="no safe cache: it is a link"):
            cache_folder()

    @with_users
    def test_a_link_on_the_way_is_followed(self, base, tmp_path):
        (tmp_path / "disk").mkdir()
        base.symlink_to(tmp_path / "disk")
        assert cache_folder() == base / "molvae"
        (tmp_path / "disk").chmod(0o777)
        with pytest.raises(FolderError, match=r"others can write to .*disk"):
            cache_folder()

    def test_a_file_in_its_place_is_told(self, base):
        base.write_text("")
        with pytest.raises(FolderError, match="no safe cache: Not a directory"):
            cache_folder()

    @with_users
    def test_that_of_another_user_is_not_taken(self, base, monkeypatch):
        cache_folder()
        if os.getuid() == 0:
            os.chown(base, 12345, 12345)
        else:
            monkeypatch.setattr(os, "getuid", lambda: 12345)
        with pytest.raises(FolderError, match="belongs to another user"):
            cache_folder()

    @with_users
    @pytest.mark.parametrize(
        ("group", "members", "alone"),
        [("me", [], True), ("me", ["me"], True), ("me", ["me", "you"], False), ("staff", [], False)],
    )
    def test_a_group_of_the_user_alone_is_nobody_else(self, tmp_path, monkeypatch, group, members, alone):
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache").chmod(0o770)
        monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name="me"))
        monkeypatch.setattr("grp.getgrgid", lambda _: SimpleNamespace(gr_name=group, gr_mem=members))
        assert (others_may_write(tmp_path / "cache") == "") == alone
