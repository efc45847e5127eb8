"""What a plain `pip install .` takes along: every file of the package that isn't Python is listed as its data."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_files_that_are_not_python_are_installed_too():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["gemma_align"]
    package = ROOT / "src" / "gemma_align"
    files = [path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()]
    others = [name for name in files if not name.endswith((".py", ".pyc"))]
    assert "experiments/study/page/page.js" in others
    assert [name for name in others if not any(fnmatch(name, pattern) for pattern in listed)] == []
