"""What gunicorn itself has to tell, among Billy's own lines: ``logger_class`` in the ini's [server:main].

Left alone, gunicorn writes text where production wants JSON, and its access log has the user name of HTTP basic
authentication, which is the API key, and whole paths, and with them callback secrets. Billy logs each request
already, so there is no access log here.
"""

from __future__ import annotations

import logging
from typing import Any

from gunicorn import glogging


class Logger(glogging.Logger):
    """gunicorn's, without handlers of its own: what it logs goes where ``billy.log`` sends everything."""

    def setup(self, cfg: Any) -> None:
        """Take gunicorn's level, and none of its handlers."""
        super().setup(cfg)
        # At DEBUG it tells the whole path of each request.
        self.error_log.setLevel(max(self.error_log.level, logging.INFO))
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.access_log.handlers.clear()

    def access(self, *request: Any) -> None:
        """Nothing: see above."""
