"""Help is quick and complete."""

import os
import subprocess
import sys

import pytest
import typer

from molvae.cli import app

HEAVY = ("torch", "rdkit", "pandas", "numpy", "sqlalchemy", "botorch", "pydantic")


def commands() -> dict[str, object]:
    """Every command, and every command of a group, by its words."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {key}": one for key, one in inner.items()} if inner else {name: command}
    return found


def test_the_commands_are_those_of_the_readme():
    names = ["train", "evaluate", "doctor", "fit-prior", "sample", "encode", "decode", "predict", "score", "models"]
    names += ["neighbors", "interpolate", "map", "optimize", "status", "export", "init", "parts"]
    assert sorted(commands()) == sorted(["data list", "data fetch", "data prepare", "data match", *names])


def test_the_version_is_told(molvae):
    import molvae as package

    assert molvae("--version").stdout == f"molvae {package.__version__}\n"


WAYS = (["-c", "import molvae"], ["-m", "molvae", "--help"])


@pytest.mark.parametrize("words", WAYS)
def test_import_and_help_load_nothing_heavy(words):
    run = subprocess.run([sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in run.stderr.splitlines()}
    assert "molvae" in loaded
    assert loaded.isdisjoint(HEAVY)


def processor_seconds(*words: str) -> float:
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("words", WAYS)
def test_help_takes_under_half_a_second_of_processor_time(words):
    assert min(processor_seconds(*words) for _ in range(3)) < 0.5


@pytest.mark.parametrize("name", commands())
def test_each_command_explains_itself(molvae, name):
    told = molvae(*name.split(), "--help").stdout
    assert f"Example: molvae {name}" in " ".join(told.split())
    for option in ("--verbose", "-v", "--quiet", "-q"):
        assert option in told


@pytest.mark.parametrize("name", commands())
def test_each_option_says_what_it_does(name):
    options = [one for one in commands()[name].params if one.param_type_name == "option"]
    assert [one.name for one in options if not one.help] == []


@pytest.mark.parametrize("name", ["train", "evaluate", "sample", "decode", "optimize", "data prepare"])
def test_where_chance_is_involved_there_is_a_seed(name):
    assert "--seed" in {word for one in commands()[name].params for word in one.opts}


def test_the_groups_list_their_commands(molvae):
    assert all(name in molvae("--help").stdout for name in ("train", "optimize", "data"))
    assert all(name in molvae("data", "--help").stdout for name in ("list", "fetch", "prepare"))
    assert "Usage" in molvae("data", "-h").stdout


@pytest.mark.parametrize("words", ["no-such-command", "train", "sample x --no-such-option", "sample x -n many"])
def test_bad_usage_is_2(molvae, words):
    result = molvae(*words.split(), code=2)
    assert "Usage: " in result.stderr
    assert result.stdout == ""


def test_a_process_ends_with_the_same_codes(process):
    for words, code in ((["data", "list"], 0), (["status", "nowhere"], 1), (["status"], 2)):
        one = process(*words)
        one.communicate()
        assert one.returncode == code
