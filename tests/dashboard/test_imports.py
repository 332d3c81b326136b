"""Who may import what in the dashboard; see DEVELOPMENT.md."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dashboard
import rnp_core

PACKAGE = Path(dashboard.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
OTHERS = {"streamlit", "plotly", "pandas", "numpy", "PIL", "dashboard", "rnp_core"}
SERVER = {"server.py", "api.py", "shell.py"}  # what Streamlit's own server is made of
PLAIN = (
    "charts", "handbook.py", "pictures.py", "requests.py", "text.py", "uploads.py", "wording.py",
)


def imports(path: Path) -> list[tuple[str, str]]:
    """(module, name) of every import; the name is empty for ``import module``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            found += [(str(node.module), alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_stays_within_its_bounds(path: Path) -> None:
    place = path.relative_to(PACKAGE)
    allowed = OTHERS | ({"starlette"} if place.name in SERVER else set())
    allowed |= {"torch"} if place.name == "child_tasks.py" else set()
    for module, name in imports(path):
        top = module.split(".")[0]
        assert top in allowed or top in sys.stdlib_module_names, module
        if top == "rnp_core":
            assert module == "rnp_core" and name in rnp_core.__all__, (module, name)
        if place.parts[0] in ("views", "components", *PLAIN):
            assert (module, name) not in (("dashboard", "state"), ("dashboard", "cache"))
            assert not module.startswith(("dashboard.state", "dashboard.cache"))
        if place.parts[0] in PLAIN:
            assert top != "streamlit"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_state_and_caches_have_one_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name != "state.py":
        tree = ast.parse(text)
        names = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
        assert "session_state" not in names and "query_params" not in names or path.name == "api.py"
    if path.name != "cache.py":
        assert "@st.cache" not in text
    if path.name != "__main__.py":
        calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
        assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls)


def test_the_first_page_does_not_wait_for_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\nfrom dashboard import server\n"
        "test = AppTest.from_file(str(server.SCRIPT), default_timeout=120).run()\n"
        "assert not test.exception and test.title\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "RNP_HOME": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
