"""Whole or absent: full disks, kills and second writers, with real files and processes."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from molvae.config import Component
from molvae.errors import FolderBusy, FolderError, RecipeError
from molvae.folders import atomic_path, claim, only_writer, seal, sha256, unfinished, unseal, write_atomic, write_json

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
    claim(tmp_path, Settings(seed=1))
    claim(tmp_path, Settings(seed=1))
    with pytest.raises(RecipeError, match=r"(?s)seed: 1 → 2.*take another --out") as caught:
        claim(tmp_path, Settings(seed=2))
    assert "size" not in str(caught.value)
    assert json.loads((tmp_path / "recipe.json").read_text()) == {"seed": 1, "size": 1}


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_kept_recipe_is_said(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(FolderError, match=r"recipe\.json is damaged"):
        claim(tmp_path, Settings())


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
