"""Pages whose shell blocks are pasted into one shell, while ``billy serve development.ini`` runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ADDRESS = "127.0.0.1:6543"
_BORDER = "=== next block ==="


def paste(blocks: Sequence[str], directory: Path, port: int, *, before: str = "") -> list[str]:
    """What each block prints; the server is at ``port``, whatever the page says, and ``.venv/bin/billy`` is ours."""
    command = directory / ".venv" / "bin" / "billy"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m billy.scripts "$@"\n')
    command.chmod(0o755)
    script = f"\necho '{_BORDER}'\n".join(blocks)
    assert ADDRESS in script
    script = "set -euo pipefail\n" + before + script.replace(ADDRESS, f"127.0.0.1:{port}")
    done = subprocess.run(["bash", "-c", script], cwd=directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return [part.strip("\n") for part in done.stdout.split(_BORDER)]
