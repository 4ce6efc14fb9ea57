"""A processor that always says yes after a given time, so that what is measured is Billy."""

from __future__ import annotations

import time
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from billy.processors.base import Receipt, ReceiptStatus, Submission, SubmissionType


class YesOptions(BaseModel):
    """The options ``billy.yes.…``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latency: float = 0


class Yes:
    """The factory, and the adapter for every company."""

    name: ClassVar[str] = "yes"
    options: ClassVar[type[BaseModel]] = YesOptions

    def __init__(self, options: YesOptions, *, call_deadline: float) -> None:
        self._latency = options.latency

    def __call__(self, processor_key: str) -> Yes:
        return self

    def create_customer(self, customer_guid: str, *, is_first_try: bool = False) -> str:
        return f"/customers/{customer_guid}"

    def validate_customer(self, uri: str) -> None:
        pass

    def validate_funding_instrument(self, uri: str, purpose: SubmissionType, customer_uri: str) -> None:
        pass

    def register_callback(self, url: str) -> None:
        pass

    def submit(self, submission: Submission) -> Receipt:
        if self._latency:
            time.sleep(self._latency)
        return Receipt(f"/debits/{submission.transaction_guid}", ReceiptStatus.SUCCEEDED)
