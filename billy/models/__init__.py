"""The rules: mapped classes with verbs. No Pyramid, no processor, no clock.

==================  =============================================================================
lifecycle           the states of invoices and transactions, as total tables
schedule            when invoices are due
retry               when submissions are tried again
company             the tenant, its API keys and its secrets
customer            who is charged
plan                how much and how often
subscription        a customer on a plan, and the filing of its invoices
invoice             what is owed once; its status is derived from its charges
transaction         one movement of money, its failures and the processor's events
dispute             a charge that the customer's bank was asked to take back
idempotency         requests that callers may repeat, and what was answered to them
audit               what operators did by hand
run                 the scheduler's diary
rate_limit          what is refused above a rate
recovery            what a restored back-up may lack
base                composite keys, UTC instants, locks
plain               records without the ORM, to be read
==================  =============================================================================
"""

from billy.models.audit import AuditEntry
from billy.models.base import Base, lock
from billy.models.company import ApiKey, Company, find_of_any_company, of_any_company
from billy.models.customer import Customer
from billy.models.dispute import Dispute, DisputeState, disputed
from billy.models.idempotency import IdempotencyKey
from billy.models.invoice import Invoice, InvoiceType, lock_invoice, lock_invoices
from billy.models.lifecycle import InvoiceStatus, SubmitStatus, TransactionStatus
from billy.models.plan import Plan, PlanType
from billy.models.rate_limit import RateLimit
from billy.models.recovery import Recovery
from billy.models.retry import RetryPolicy
from billy.models.run import BillingRun
from billy.models.schedule import Frequency
from billy.models.subscription import Subscription
from billy.models.transaction import Transaction, TransactionEvent, TransactionFailure, TransactionType

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Base",
    "BillingRun",
    "Company",
    "Customer",
    "Dispute",
    "DisputeState",
    "Frequency",
    "IdempotencyKey",
    "Invoice",
    "InvoiceStatus",
    "InvoiceType",
    "Plan",
    "PlanType",
    "RateLimit",
    "Recovery",
    "RetryPolicy",
    "SubmitStatus",
    "Subscription",
    "Transaction",
    "TransactionEvent",
    "TransactionFailure",
    "TransactionStatus",
    "TransactionType",
    "disputed",
    "find_of_any_company",
    "lock",
    "lock_invoice",
    "lock_invoices",
    "of_any_company",
]
