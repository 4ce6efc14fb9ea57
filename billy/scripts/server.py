"""``python -m billy.scripts.server INI`` is ``pserve INI``, but stops as calmly on SIGTERM as on Ctrl-C.

Waitress finishes the requests that it has begun only if it is ended by an exception.
"""

from __future__ import annotations

import signal
import sys

from pyramid.scripts.pserve import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    main()
