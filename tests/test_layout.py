"""The tree keeps its promises: packages, import directions, mirrored tests, guarded names."""

import ast
import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROOMS = ("checkpoints", "export", "quant", "train", "zoo")
# What each room may import of its siblings; the root package may import all.
ALLOWED = {
    "zoo": set(),
    "checkpoints": set(),
    "quant": {"zoo"},
    "train": {"zoo", "checkpoints"},
    "export": {"zoo", "quant"},
}


def _modules(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(
        p for p in folder.rglob("*.py") if p.name != "__init__.py" and "__pycache__" not in p.parts
    )


def _imported_rooms(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("attokit.")} & set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_dependencies_point_one_way(room):
    for path in _modules(ROOT / room):
        strangers = _imported_rooms(path) - ALLOWED[room] - {room}
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"


def test_packages_in_pyproject_equal_the_tree():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"attokit": ROOT / "src/attokit"} | {f"attokit.{r}": ROOT / r for r in ROOMS}
    found = {}
    for name, folder in folders.items():
        for init in folder.rglob("__init__.py"):
            inner = init.parent.relative_to(folder)
            if name == "attokit" and inner.parts[:1] and inner.parts[0] in ROOMS:
                continue  # the links that show the rooms to editors
            found[".".join([name, *inner.parts])] = init.parent.relative_to(ROOT).as_posix()
    assert setup["packages"] == sorted(found)
    mapped = setup["package-dir"]
    for name, folder in found.items():
        if name in mapped:
            assert mapped[name] == folder
        else:  # under src/attokit, where setuptools finds it
            assert folder.startswith("src/attokit")


@pytest.mark.parametrize("room", ROOMS)
def test_links_show_the_rooms_to_editors(room):
    link = ROOT / "src/attokit" / room
    assert not link.exists() or link.resolve() == ROOT / room


def test_tests_mirror_the_tree():
    sources = {
        (path.relative_to(ROOT).parent / f"test_{path.name.removeprefix('_')}").as_posix()
        for room in ROOMS
        for path in _modules(ROOT / room)
    } | {
        f"attokit/{path.relative_to(ROOT / 'src/attokit').parent / f'test_{path.name}'}".replace(
            "/./", "/"
        )
        for path in _modules(ROOT / "src/attokit")
        if path.relative_to(ROOT / "src/attokit").parts[0] not in ROOMS
    }
    tests = {
        path.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.parent != ROOT / "tests"
    }
    sources = {name.removeprefix("./") for name in sources}
    assert not sources - tests, f"modules without a test: {sorted(sources - tests)}"
    assert not tests - sources, f"tests without a module: {sorted(tests - sources)}"


@pytest.mark.parametrize("room", ROOMS)
def test_bare_names_are_refused_with_the_cure(room):
    process = subprocess.run(
        [sys.executable, "-c", f"import {room}"], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 1
    assert f"write `from attokit import {room}`" in process.stderr


def test_base_install_names_neither_tensorflow_nor_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {item.split(">")[0].split("[")[0].strip() for item in project["dependencies"]}
    assert not names & {"tensorflow", "tensorflow-cpu", "torch"}
