"""What is written in several places agrees: versions, floors, and what the extras need."""

import tomllib
from pathlib import Path

import sksnn

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def floors(requirements):
    return dict(line.split(">=") for line in requirements if ">=" in line)


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{sksnn.__version__}] - 20" in changelog, "the changelog names the version and its date"


def test_the_oldest_packages_are_the_floors():
    extras = PROJECT["optional-dependencies"]
    wanted = floors(PROJECT["dependencies"] + extras["plot"] + extras["data"])
    oldest = pins("oldest.txt")
    assert oldest.keys() == wanted.keys()
    assert not [name for name, floor in wanted.items() if not f"{oldest[name]}.".startswith(f"{floor}.")]


def test_the_development_environment_is_not_below_a_floor():
    def numbers(version):
        return [int(part) for part in version.split(".")]

    for name, floor in floors(PROJECT["dependencies"]).items():
        assert numbers(pins("constraints.txt")[name]) >= numbers(floor), name
