"""Balanced's ``category_code`` of each refusal, and whether asking again another day may help.

The last column is where the code's meaning is known from: the vendor's documentation (D), its published
executable specification (S), or recorded answers (R); "ours" is a judgement of this file.
"""

from __future__ import annotations

from billy.processors.service import HARD, SOFT, Refusal, Refusals

REFUSALS = Refusals(
    # The bank's own no, 402. Balanced does not pass on why (its texts are not to be parsed), so it may pass.
    Refusal("card-declined", SOFT, "the bank declined: no funds, a limit, a suspicion", "R"),
    Refusal("authorization-failed", SOFT, "the bank did not authorise the card", "D"),
    Refusal("funding-destination-declined", SOFT, "the receiving bank declined", "D"),
    # Money that may be there tomorrow, 409.
    Refusal("insufficient-funds", SOFT, "the marketplace's escrow does not cover the credit", "D"),
    Refusal("account-insufficient-funds", SOFT, "the account does not cover it", "S"),
    Refusal("refund-insufficient-funds", SOFT, "the marketplace's escrow does not cover the refund", "D"),
    # The instrument will not do, today or tomorrow.
    Refusal("funding-source-not-debitable", HARD, "a bank account that was never verified, or a credit-only card", "R"),
    Refusal("funding-destination-not-creditable", HARD, "a card that takes no credits", "D"),
    Refusal("no-funding-source", HARD, "nothing to debit", "S"),
    Refusal("no-funding-destination", HARD, "nothing to credit", "S"),
    Refusal("card-not-validated", HARD, "the number is wrong", "R"),
    Refusal("card-not-valid", HARD, "the card is invalid, expired or removed", "S"),
    Refusal("bank-account-not-valid", HARD, "the account is invalid or removed", "S"),
    Refusal("card-number-not-valid", HARD, "the number is wrong", "S"),
    Refusal("invalid-routing-number", HARD, "there is no such bank", "R"),
    Refusal("invalid-bank-account-number", HARD, "the account number is wrong", "S"),
    Refusal("card-already-funding-src", HARD, "the card belongs to another customer, for good", "D"),
    Refusal("bank-account-already-associated", HARD, "the account belongs to another customer, for good", "D"),
    Refusal("cannot-associate-card", HARD, "the card cannot be given to this customer", "S"),
    Refusal("card-token-expired", HARD, "a tokenised card was not claimed in time", "S"),
    Refusal("card-token-already-claimed", HARD, "a tokenised card was claimed by another key", "S"),
    Refusal("name-required-to-credit", HARD, "the card has no name", "S"),
    # The request will never be right: retries send the same.
    Refusal("request", HARD, "a field is invalid; a refund above what is left of its debit", "R"),
    Refusal("invalid-amount", HARD, "the amount is invalid", "S"),
    Refusal("amount-exceeds-limit", HARD, "more than the marketplace, or a credit to a card, may be", "D"),
    Refusal("not-found", HARD, "no such record of this key", "R"),
    Refusal("order", HARD, "the instrument is not its order's merchant's", "S"),
    # The charge cannot be given back.
    Refusal("debit-already-refunded", HARD, "all of it was refunded", "S"),
    Refusal("refund-invalid-debit-state", HARD, "the debit has not succeeded", "S"),
    Refusal("debit-disputed", HARD, "the customer's bank took the money back", "D"),
    Refusal("invalid-reversal-amount", HARD, "more than is left of the credit", "S"),
    Refusal("credit-already-reversed", HARD, "all of it was reversed", "S"),
    Refusal("cannot-reverse-credit", HARD, "the credit has not succeeded", "R"),
    # This adapter's own.
    Refusal("invalid-uri", HARD, "a stored URI is not one of Balanced", "ours"),
)

if __name__ == "__main__":
    print(REFUSALS.markdown())
