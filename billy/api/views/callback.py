"""What a processor tells us on its own accord."""

from __future__ import annotations

from billy import clock
from billy.api import resources
from billy.api.api_view import api_view
from billy.api.processing import PROCESSOR_ERRORS, read_callback
from billy.api.request import Request
from billy.api.security import Permission
from billy.errors import InvalidCallbackPayload, MoneyMoving, TooManyRequests
from billy.models import Company
from billy.recording import apply_callback


@api_view(
    "callback",
    "POST",
    permission=Permission.PUBLIC,
    returns=resources.Callback,
    raises=(InvalidCallbackPayload, MoneyMoving, TooManyRequests, *PROCESSOR_ERRORS),
    takes_key=False,  # an event has an id of its own
)
def receive_callback(company: Company, request: Request) -> resources.Callback:
    """``ok`` if the event was news; ``ignore`` for a repeat, or for what does not concern us.

    Any error asks the processor to deliver the event again: 409 while the answer of a call is not in yet.
    """
    callback = read_callback(request, company, request.body, dict(request.headers))
    if callback is None:
        return {"code": "ignore"}
    is_news = apply_callback(request.db, company.guid, callback, clock.utc_now())
    return {"code": "ok" if is_news else "ignore"}
