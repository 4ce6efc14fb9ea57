"""Idempotency keys: a request that changes something may be sent again, and is done once.

A caller who got no answer cannot know whether his request was lost or its answer. With an ``Idempotency-Key`` (as
draft-ietf-httpapi-idempotency-key-header has it) he sends the same again, with the same key, and gets the answer of
the first. In two columns, as in ``billy.submission``::

    database                                                         processor
    claim: the key is this request's, leased             COMMIT
    …                                                                customer, instrument: asked, with no effect
    the effect, and ``reached``: which record it is      COMMIT
                                                                     submit, register
    what became of it                                    COMMIT
    the answer, encrypted                                COMMIT

Where no processor is called, the effect and its answer are one commit. Whoever finds the key

* **answered** gets that answer again;
* **leased** is refused, 409, since the first is still at it;
* with a lease that has run out takes it over. Before ``reached`` nothing is stored, so the view is run again, and makes
  the record with the guid that the key fixed: a processor that was asked about it already is asked about the same.
  After ``reached`` nothing is done again: the answer is the record, as it stands now.

The lease decides who waits, not what is safe. Safe is that every write names the key's owner in its WHERE clause: a
request that was taken for dead, and is not, fails before its next commit, and what it did is rolled back.

An answer of 400 and above stored nothing, so nothing has to be kept. One below 500 frees the key, for any request. One
above leaves it to this request, to be tried again.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.response import Response
from pyramid.tweens import EXCVIEW
from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from sqlalchemy.orm import Session

from billy import clock
from billy.api.contexts import find
from billy.api.request import Hold, Request
from billy.api.security import Permission, authenticated
from billy.api.serializers import CONTENT_TYPE, serialize, write_json
from billy.errors import BillyError, IdempotencyKeyInUse, IdempotencyKeyReused, ValidationError
from billy.guid import new_guid
from billy.models import IdempotencyKey
from billy.models.base import Owned, lock_all
from billy.models.idempotency import NOBODY
from billy.statements import database_now, insert_unless_there

View = Callable[[Any, Request], Response]
Resume = Callable[[Request, str], Any]

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"

PATTERN = "[!-~]{1,255}"
"""What a key may be. The draft has it in quotation marks, with a backslash before those that are part of it."""

KEEP_REGISTRATIONS = timedelta(hours=1)
"""Long enough for a caller to try again; their answers hold API keys."""

_KEY = re.compile(rf"{PATTERN}\Z")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"\Z')
_OWNER = "billy.idempotency_owner"

log = structlog.get_logger(__name__)


def presented(request: Request) -> str | None:
    """The key that was sent, in quotation marks or without; ValidationError if it is none."""
    header: str | None = request.headers.get(HEADER)
    if header is None:
        return None
    key = header.strip(" \t")
    if key.startswith('"'):
        quoted = _QUOTED.match(key)
        key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    if _KEY.match(key) is None:
        raise ValidationError.of(HEADER, "Must be 1 to 255 visible ASCII characters, with or without quotation marks")
    return key


def idempotent(view: View, info: Any) -> View:
    """View deriver: what was done under the request's key is not done again, but answered again."""
    options = info.options
    if not options.get("takes_key"):
        return view
    is_public = options["permission"] is not Permission.COMPANY
    resume: Resume = options.get("resume") or partial(_found_again, options["returns"])

    def with_key(context: Any, request: Request) -> Response:
        key = presented(request)
        if key is None:
            return view(context, request)
        row, request.hold = _claim(request, key, is_public=is_public)
        if request.hold is None:
            return _replay(request, row)
        if row.record_guid is None:
            response = _run(view, context, request)
        else:
            log.info("request_resumed", record=row.record_guid)
            record = resume(request, row.record_guid)
            response = write_json(request.response, serialize(record, request), request)
        if response.status_code < 400:
            _keep_answer(request, response)
        return response

    return with_key


idempotent.options = ("takes_key", "resume")  # type: ignore[attr-defined]  # how Pyramid is told of them


def reached(request: Request, record: Any) -> None:
    """What the request is for is in the database with the next commit; ``record`` is what it answers with.

    To be called by whoever commits before the request's end. IdempotencyKeyInUse, to be let pass, if the request was
    so slow that another one has taken its key over.
    """
    if request.hold is not None:
        with request.db.no_autoflush:  # a transaction that is to be submitted is claimed in its very INSERT
            _write(request, record_guid=record.guid)


def _run(view: View, context: Any, request: Request) -> Response:
    try:
        return view(context, request)
    except (BillyError, IntegrityError):
        # It may be the work of who took the key over that is in the way: the record is there, the invoice is settled.
        request.db.rollback()
        _write(request, leased_until=IdempotencyKey.leased_until)
        raise


def _found_again(model: type[Owned], request: Request, guid: str) -> Owned:
    record = find(request, model, guid)
    assert record is not None, f"nothing is ever deleted, but {model.__tablename__} {guid} is"
    return record


def _claim(request: Request, key: str, *, is_public: bool) -> tuple[IdempotencyKey, Hold | None]:
    """The key's row, and that it is ours now; None where it has its answer. Commits."""
    at = database_now(request.db)
    fresh = _fresh(request, key, at, is_public=is_public)
    row, is_new = _row(request.db, fresh)
    if row.fingerprint != fresh["fingerprint"]:
        raise IdempotencyKeyReused(f"This {HEADER} was sent with another request before: a new request needs a new one")
    if row.is_answered:
        return row, None
    if not row.is_free(fresh["owner"], at):
        raise IdempotencyKeyInUse(f"The request with this {HEADER} is being processed right now, try again later")
    row.owner, row.leased_until = fresh["owner"], fresh["leased_until"]
    request.db.commit()  # from here on whoever comes with the key is told to wait
    return row, Hold(row.company_guid, row.key_hash, row.owner, row.new_guid, is_first_try=is_new)


def _fresh(request: Request, key: str, at: datetime, *, is_public: bool) -> dict[str, Any]:
    """The values of a key that is sent for the first time."""
    now, settings = clock.utc_now(), request.registry["billy.settings"]
    fingerprint = _fingerprint(request)
    if is_public:
        # Anybody may register, so a key alone is nobody's: what belongs together is the key and what was sent.
        company_guid, key_hash = NOBODY, _hash(key, fingerprint)
        keep = min(settings.keep_answers, KEEP_REGISTRATIONS)
    else:
        company_guid, key_hash, keep = authenticated(request).guid, _hash(key), settings.keep_answers
    return {
        "company_guid": company_guid,
        "key_hash": key_hash,
        "fingerprint": fingerprint,
        "new_guid": new_guid("", now),
        # Of the request, and not of the attempt: pyramid_retry may begin it anew before anybody could end the lease.
        "owner": request.environ.setdefault(_OWNER, secrets.token_hex(16)),
        "leased_until": at + settings.request_lease,
        "created_at": now,
        "expires_at": now + keep,
    }


def _row(db: Session, fresh: dict[str, Any]) -> tuple[IdempotencyKey, bool]:
    """The key's row, locked, and whether it is the fresh one."""
    own = [getattr(IdempotencyKey, name) == fresh[name] for name in ("company_guid", "key_hash")]
    while True:
        is_new = insert_unless_there(db, IdempotencyKey, fresh)
        for row in lock_all(db, IdempotencyKey, *own):  # none, if a run has deleted what was there
            if row.expires_at > fresh["created_at"]:
                return row, is_new
            db.delete(row)
        db.flush()


def _replay(request: Request, row: IdempotencyKey) -> Response:
    log.info("answer_replayed")
    body = request.registry["billy.vault"].open(row.sealed_answer).encode()
    headers = [("Content-Type", CONTENT_TYPE), (REPLAYED, "true")]
    return Response(body, status=row.answer_status, headerlist=headers)


def _keep_answer(request: Request, response: Response) -> None:
    sealed = request.registry["billy.vault"].seal(response.body.decode())
    _write(request, answer_status=response.status_code, sealed_answer=sealed, leased_until=None)


def _write(request: Request, **values: Any) -> None:
    hold = request.hold
    assert hold is not None
    done: Any = request.db.execute(update(IdempotencyKey).where(*_held(hold)).values(values), execution_options=_PLAIN)
    if done.rowcount != 1:
        log.warning("idempotency_key_lost")
        raise IdempotencyKeyInUse(f"The request with this {HEADER} was taken over by a later one, try again later")


_PLAIN = {"synchronize_session": False}


def _held(hold: Hold) -> tuple[Any, ...]:
    return (
        IdempotencyKey.company_guid == hold.company_guid,
        IdempotencyKey.key_hash == hold.key_hash,
        IdempotencyKey.owner == hold.owner,
    )


def _fingerprint(request: Request) -> str:
    # The media type without its parameters: a boundary is in the body too, and a charset changes nothing.
    return _hash(request.method, request.environ["PATH_INFO"], request.content_type.lower(), body=request.body)


def _hash(*parts: str, body: bytes = b"") -> str:
    return hashlib.sha256("\0".join([*parts, ""]).encode("utf-8", "surrogatepass") + body).hexdigest()


def release_tween_factory(handler: Callable[[Request], Response], registry: Registry) -> Callable[[Request], Response]:
    """Let go of the key of a request that failed, once what it did is rolled back."""

    def release_tween(request: Request) -> Response:
        response = handler(request)
        if request.hold is not None and response.status_code >= 400:
            _release(registry, request.hold, forget=response.status_code < 500)
        return response

    return release_tween


def _release(registry: Registry, hold: Hold, *, forget: bool) -> None:
    try:
        with registry["billy.sessions"].begin() as session:
            if forget:
                nothing_done = (IdempotencyKey.record_guid.is_(None), IdempotencyKey.sealed_answer.is_(None))
                session.execute(delete(IdempotencyKey).where(*_held(hold), *nothing_done), execution_options=_PLAIN)
            session.execute(
                update(IdempotencyKey).where(*_held(hold)).values(leased_until=None), execution_options=_PLAIN
            )
    except (OperationalError, InterfaceError, NoFreeConnection) as error:
        # The caller is told to try again anyway; he has to wait for the end of the lease then.
        log.warning("idempotency_key_not_released", error=type(error).__name__)


def includeme(config: Configurator) -> None:
    """Heed the keys of all views that take them."""
    config.add_view_deriver(idempotent, over="read_parameters")
    config.add_tween(
        "billy.api.idempotency.release_tween_factory", under="billy.api.tweens.cors_tween_factory", over=EXCVIEW
    )
