"""A client of Billy's API: every operation as a method, every answer as a typed record, every error as a class.

::

    from billy.client import Client

    with Client("https://billy.example.com", api_key) as billy:
        for invoice in billy.invoices.list(status="failed", created_at__gte=monday):
            ...

==============  =================================================================================
client          ``Client``: the address, the key, and the nouns
nouns           what can be asked of plans, customers, and so on
records         what is answered
parameters      what is sent: filters, lines of an invoice, and how values are written
listing         lists, a page at a time
transport       HTTP: time-outs, and when a request is sent again
errors          what goes wrong
==============  =================================================================================

It imports nothing of the server, only requests (``pip install 'billy[client]'``). Why requests: it is the client
library that is best kept, and it takes proxies and certificate authorities from where every program on a machine
takes them. httpx has had no release for two years, and nothing here is asynchronous.
"""

from billy.client.client import Client
from billy.client.errors import (
    ApiError,
    AuthenticationRequired,
    BillyError,
    ConnectionFailed,
    DatabaseUnavailable,
    DuplicateExternalIDError,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InternalServerError,
    InvalidCallbackPayload,
    InvalidCustomer,
    InvalidFundingInstrument,
    InvalidOperationError,
    InvalidRequest,
    InvalidURIFormat,
    MethodNotAllowed,
    Misconfigured,
    MoneyMoving,
    NotFound,
    OutcomeUnknown,
    Refused,
    RegistrationClosed,
    RegistrationTokenRequired,
    RequestEntityTooLarge,
    ServerError,
    TooManyRequests,
    Unavailable,
    UnexpectedAnswer,
    UnsupportedMediaType,
    UntrustedServer,
    ValidationError,
)
from billy.client.listing import Listing
from billy.client.parameters import KEEP
from billy.client.records import (
    Callback,
    Company,
    Customer,
    CustomerInvoice,
    Health,
    Invoice,
    InvoiceAdjustment,
    InvoiceItem,
    LastRun,
    Page,
    Plan,
    SchemaRevisions,
    Server,
    Subscription,
    SubscriptionInvoice,
    Transaction,
    TransactionFailure,
)
from billy.client.transport import Answer

__all__ = [
    "KEEP",
    "Answer",
    "ApiError",
    "AuthenticationRequired",
    "BillyError",
    "Callback",
    "Client",
    "Company",
    "ConnectionFailed",
    "Customer",
    "CustomerInvoice",
    "DatabaseUnavailable",
    "DuplicateExternalIDError",
    "Health",
    "IdempotencyKeyInUse",
    "IdempotencyKeyReused",
    "InternalServerError",
    "InvalidCallbackPayload",
    "InvalidCustomer",
    "InvalidFundingInstrument",
    "InvalidOperationError",
    "InvalidRequest",
    "InvalidURIFormat",
    "Invoice",
    "InvoiceAdjustment",
    "InvoiceItem",
    "LastRun",
    "Listing",
    "MethodNotAllowed",
    "Misconfigured",
    "MoneyMoving",
    "NotFound",
    "OutcomeUnknown",
    "Page",
    "Plan",
    "Refused",
    "RegistrationClosed",
    "RegistrationTokenRequired",
    "RequestEntityTooLarge",
    "SchemaRevisions",
    "Server",
    "ServerError",
    "Subscription",
    "SubscriptionInvoice",
    "TooManyRequests",
    "Transaction",
    "TransactionFailure",
    "Unavailable",
    "UnexpectedAnswer",
    "UnsupportedMediaType",
    "UntrustedServer",
    "ValidationError",
]
