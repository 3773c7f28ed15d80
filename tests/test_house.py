"""Promises about the repository: one version, commands that hold, nothing local, nothing pickled."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUDY_COMMAND = "pip install -c constraints.txt -e . && prunescope study"
TEST_COMMAND = "pip install -c constraints.txt -e '.[test]' && pytest"
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+|work|opt/\w+|tmp/\w+|mnt/\w+)/|\b[A-Z]:\\\\?Users")
PICKLING = {"pickle", "cloudpickle", "dill", "shelve"}
PICKLING_CALLS = {"torch.load", "torch.save", "joblib.load", "joblib.dump"}

MODULES = sorted(path for package in ("solvers", "analysis") for path in (ROOT / package).rglob("*.py"))
module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict:
    return tomllib.loads(read("pyproject.toml"))["project"]


def repository_files() -> list[Path]:
    """Tracked files and those about to be; without git, as in a source distribution, every file."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", read("README.md"), flags=re.MULTILINE | re.DOTALL)


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_version_is_the_same_everywhere() -> None:
    version = project()["version"]
    citation = re.search(r"^version: (\S+)$", read("CITATION.cff"), flags=re.MULTILINE)
    newest = re.search(r"^## \[(\d\S*)\]", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert citation is not None
    assert newest is not None
    assert (citation[1], newest[1]) == (version, version)
    assert metadata.version("prunescope") == version


def test_readme_gives_the_two_commands() -> None:
    blocks = [block.strip() for block in code_blocks("")]
    assert STUDY_COMMAND in blocks
    assert TEST_COMMAND in blocks


def test_ci_ends_with_the_test_command_of_the_readme() -> None:
    lines = read(".ci/run").splitlines()
    assert lines[-1] == TEST_COMMAND
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_ci_and_make_lint_alike() -> None:
    ci = read(".ci/run").splitlines()
    recipe = read("Makefile").split("\nlint: setup\n")[1].split("\n\n")[0].splitlines()
    linters = [line.strip().removeprefix("$(BIN)/") for line in recipe]
    assert linters == ["ruff check", "ruff format --check", "mypy", "lint-imports"]
    assert [line for line in ci if line in linters] == linters


def test_make_runs_modules_that_exist() -> None:
    names = re.findall(r"-m ((?!venv\b)[\w.]+)", read("Makefile"))
    assert names
    for name in names:
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").is_file(), name


def test_command_points_into_analysis() -> None:
    assert project()["scripts"] == {"prunescope": "analysis.cli:app"}


def test_constraints_are_exact_and_name_no_host() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert "torch==2.13.0" in lines


@pytest.mark.parametrize("extra", ["", "test", "lint", "docs", "cluster"])
def test_every_dependency_is_pinned(extra: str) -> None:
    declared = project()["optional-dependencies"][extra] if extra else project()["dependencies"]
    pinned = {line.split("==")[0] for line in read("constraints.txt").splitlines()}
    assert {re.split(r"[<>=!~\[; ]", requirement)[0].lower() for requirement in declared} <= pinned


def test_no_machine_paths() -> None:
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image or a weight file
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in MACHINE_PATH.finditer(text)]
    assert not found


def test_machine_paths_would_be_found() -> None:
    # Joined here, so that this file does not contain what it forbids.
    for parts in (("home", "ann", "x.py"), ("root", "x"), ("tmp", "run1", "log"), ("Users", "ann", "x")):
        assert MACHINE_PATH.search('open("/' + "/".join(parts) + '")')
    for text in ("https://example.org/work/page", "out/tmp/x/y", "a/root/b", "/usr/bin/env"):
        assert not MACHINE_PATH.search(text)


@module
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


def unsafe(tree: ast.AST) -> list[str]:
    """Imports and calls that would run code found in a file or on a hub."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLING]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PICKLING:
            found.append(node.module)
    for name, call in calls(tree):
        if name in PICKLING_CALLS or name.endswith(("read_pickle", "to_pickle")):
            found.append(name)
        for keyword in call.keywords:
            harmless = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in {"trust_remote_code", "allow_pickle"} and not harmless:
                found.append(f"{name}({keyword.arg}=...)")
    return found


@module
def test_nothing_unpickles_or_runs_remote_code(path: Path) -> None:
    assert not unsafe(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from cloudpickle import dumps",
        "torch.load('x')",
        "frame.to_pickle('x')",
        "load('x', trust_remote_code=True)",
        "numpy.load('x', allow_pickle=flag)",
    ],
)
def test_unsafe_code_would_be_found(code: str) -> None:
    assert unsafe(ast.parse(code))
    assert not unsafe(ast.parse("numpy.load('x', allow_pickle=False)"))


def test_solvers_load_no_model_and_no_plot_library() -> None:
    probe = (
        "import sys, solvers\n"
        "print(*sorted({'torch', 'transformers', 'matplotlib', 'seaborn', 'analysis'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, check=True, text=True)
    assert run.stdout.strip() == ""


@pytest.mark.parametrize("block", code_blocks("python"), ids=lambda block: block.strip().splitlines()[-1][:40])
def test_readme_examples_run(block: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out or "print(" not in block
