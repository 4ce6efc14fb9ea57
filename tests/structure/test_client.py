"""The client stands alone: whoever uses it needs requests, and nothing of the server."""

from __future__ import annotations

import subprocess
import sys

from tests.structure.source import within

ALONE = """
import sys
allowed = {"billy", "requests", "urllib3", "idna", "certifi", "charset_normalizer"}

class Missing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed | sys.stdlib_module_names and not top.endswith("__mypyc"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import billy.client
billy.client.Client("http://127.0.0.1:6543", "key").close()
print(*(name for name in sys.modules if name.partition(".")[0] == "billy"))
"""
WITHOUT_REQUESTS = """
import sys
sys.modules["requests"] = None
try:
    import billy.client
except ImportError as error:
    print(error)
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_it_runs_where_only_requests_is_installed() -> None:
    loaded = run(ALONE).split()
    assert len(loaded) > 5
    assert [name for name in loaded if name != "billy" and not within(name, "billy.client")] == []


def test_without_requests_it_says_what_to_install() -> None:
    assert run(WITHOUT_REQUESTS) == "Billy's client needs requests: pip install 'billy[client]'\n"
