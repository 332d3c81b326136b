"""Who imports what: the table of DEVELOPMENT.md, kept true."""

from __future__ import annotations

import ast
import subprocess
import sys
import types
from pathlib import Path

import pytest

import rnp_core

PACKAGE = Path(rnp_core.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN = {"streamlit", "plotly", "pandas", "matplotlib", "dashboard", "scripts", "tests"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_stays_within_its_bounds(path: Path) -> None:
    names = imported(path)
    place = path.relative_to(PACKAGE)
    allowed = {"plotly"} if place == Path("reports/charts.py") else set()
    assert not {name.split(".")[0] for name in names} & (FORBIDDEN - allowed)
    if place != Path("stages/attribution.py"):
        assert not any(name.split(".")[0] == "captum" for name in names)
    if place.parts[0] != "evaluation":
        assert not any(name.startswith("rnp_core.evaluation") for name in names)
    if not place.name.startswith("cli"):
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls)


@pytest.mark.parametrize("name", rnp_core.__all__)
def test_a_public_name_is_a_thing_and_no_module(name: str) -> None:
    assert not isinstance(getattr(rnp_core, name), types.ModuleType)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rnp_core.nothing  # noqa: B018


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom rnp_core.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "scan one checkpoint" in done.stdout
