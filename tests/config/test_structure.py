"""The structure of the code: the size of packages and modules, and unique names."""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = ("analytics", "delivery", "integrations")
MAX_MODULES = 20  # of a package, without its __init__
MAX_LINES = 350  # of a module
MAX_UNTYPED = 39  # entries in the list of modules that mypy does not check strictly
MAX_RULERS = 2  # comments that divide a module
TABLES = {"Told"}  # models keep the names that migrations use
# Django finds these by their names, or each module defines its own.
REPEATED = {"Command", "logger", "register", "urlpatterns", "State"}


def modules(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if "migrations" not in path.parts)


def packages() -> dict[Path, list[Path]]:
    result = defaultdict(list)
    for path in modules(*APPS):
        if path.name != "__init__.py":
            result[path.parent].append(path)
    return result


def public_names(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def words_of(name: str) -> set[str]:
    """Return the words of an identifier: LaneThread and lane_thread have the same two."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def banned_words() -> set[str]:
    """Return the names that the glossary replaces, from the last column of its tables."""
    rows = re.findall(r"^\|.*\|([^|]*)\|$", (ROOT / "docs/glossary.md").read_text("utf-8"), re.M)
    return {word for cell in rows for word in re.findall(r"`(\w+)`", cell)}


def test_no_package_has_too_many_modules():
    sizes = {name_of(folder): len(paths) for folder, paths in packages().items()}
    assert {name: size for name, size in sizes.items() if size > MAX_MODULES} == {}


@pytest.mark.parametrize("path", modules(*APPS), ids=name_of)
def test_a_module_has_one_subject(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= MAX_LINES, "split it"
    assert len(re.findall(r"^ *# ---", text, re.MULTILINE)) <= MAX_RULERS, "split it by its rulers"


@pytest.mark.parametrize("app", APPS)
def test_a_public_name_means_one_thing_in_an_app(app):
    places = defaultdict(list)
    for path in modules(app):
        for name in public_names(path):
            places[name].append(name_of(path))
    repeated = {name: where for name, where in places.items() if len(where) > 1}
    assert {name: where for name, where in repeated.items() if name not in REPEATED} == {}


def test_the_tests_mirror_the_packages():
    wrong = []
    for app in APPS:
        for path in (ROOT / "tests" / app).rglob("test_*.py"):
            package = path.parent.relative_to(ROOT / "tests")
            if not (ROOT / package / "__init__.py").exists():
                wrong.append(name_of(path))
    assert wrong == []


def test_no_module_is_without_a_docstring():
    bare = [
        name_of(path)
        for path in modules(*APPS)
        if path.name not in ("__init__.py", "apps.py", "urls.py")
        and "commands" not in path.parts
        and ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert bare == []


def test_public_names_use_the_words_of_the_glossary():
    banned = banned_words()
    assert {"bell", "crew", "told"} <= banned
    wrong = [
        f"{name_of(path)}: {name}"
        for path in modules(*APPS)
        for name in public_names(path)
        if words_of(name) & banned and name not in TABLES
    ]
    assert wrong == []


def test_the_modules_that_are_not_typed_strictly_only_become_fewer():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    overrides = config["tool"]["mypy"]["overrides"]
    exceptions = [each["module"] for each in overrides if each.get("ignore_errors")]
    listed = [name for names in exceptions for name in names if name != "config.settings"]
    assert len(listed) <= MAX_UNTYPED
    for name in listed:
        path = ROOT / name.removesuffix(".*").replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), f"{name} is gone; remove it"
