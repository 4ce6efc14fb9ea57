"""Stripe's codes of a no, and whether asking again another day may help.

A card that is declined comes with two codes, ``card_declined`` and the issuer's ``decline_code``; the second says
more and is the one that counts. The names are those of Stripe's published lists of decline codes (D) and of error
codes (E); what is hard is a judgement of this file, after the next step that Stripe advises.
"""

from __future__ import annotations

from billy.processors.service import HARD, SOFT, Refusal, Refusals

REFUSALS = Refusals(
    # The issuer says no today, and may say yes tomorrow.
    Refusal("insufficient_funds", SOFT, "the account does not cover it", "D"),
    Refusal("card_velocity_exceeded", SOFT, "too many payments, or a limit is reached", "D"),
    Refusal("withdrawal_count_limit_exceeded", SOFT, "a limit is reached", "D"),
    Refusal("generic_decline", SOFT, "the issuer does not say why, or Stripe's own rules blocked it", "D"),
    Refusal("do_not_honor", SOFT, "the issuer does not say why", "D"),
    Refusal("call_issuer", SOFT, "the customer has to talk to the bank", "D"),
    Refusal("no_action_taken", SOFT, "the issuer does not say why", "D"),
    Refusal("not_permitted", SOFT, "the issuer does not permit it", "D"),
    Refusal("service_not_allowed", SOFT, "the issuer does not say why", "D"),
    Refusal("transaction_not_allowed", SOFT, "the issuer does not say why", "D"),
    Refusal("security_violation", SOFT, "the issuer does not say why", "D"),
    Refusal("approve_with_id", SOFT, "it could not be authorised", "D"),
    Refusal("duplicate_transaction", SOFT, "the same amount was charged a moment ago", "D"),
    Refusal("issuer_not_available", SOFT, "the issuer cannot be reached", "D"),
    Refusal("processing_error", SOFT, "something went wrong on the way", "D"),
    Refusal("reenter_transaction", SOFT, "something went wrong on the way", "D"),
    Refusal("try_again_later", SOFT, "the issuer does not say why", "D"),
    Refusal("card_declined", SOFT, "declined without a decline code", "E"),
    Refusal("debit_not_authorized", HARD, "the customer told the bank that the debit was not authorised", "E"),
    Refusal("balance_insufficient", SOFT, "the Stripe balance does not cover a transfer or a refund", "E"),
    Refusal("payment_method_provider_timeout", SOFT, "the provider did not answer", "E"),
    Refusal("payment_method_provider_decline", SOFT, "the provider declined", "E"),
    # The customer has to do something, which a charge without him cannot wait for.
    Refusal("authentication_required", HARD, "the customer has to authenticate: 3-D Secure", "D"),
    Refusal("authentication_not_handled", HARD, "the customer has to authenticate", "D"),
    Refusal("payment_intent_authentication_failure", HARD, "the customer did not authenticate", "E"),
    Refusal("offline_pin_required", HARD, "the card has to be present", "D"),
    Refusal("online_or_offline_pin_required", HARD, "the card has to be present", "D"),
    Refusal("mobile_device_authentication_required", HARD, "the customer has to authenticate", "D"),
    # The card will not do, today or tomorrow.
    Refusal("expired_card", HARD, "the card has expired", "D"),
    Refusal("lost_card", HARD, "reported lost", "D"),
    Refusal("stolen_card", HARD, "reported stolen", "D"),
    Refusal("pickup_card", HARD, "the issuer wants the card back", "D"),
    Refusal("restricted_card", HARD, "cannot be used: lost or stolen, perhaps", "D"),
    Refusal("fraudulent", HARD, "Stripe suspects fraud", "D"),
    Refusal("merchant_blacklist", HARD, "it is on the company's own block list", "D"),
    Refusal("do_not_try_again", HARD, "the issuer wants no more tries", "D"),
    Refusal("stop_payment_order", HARD, "the customer stopped it", "D"),
    Refusal("revocation_of_authorization", HARD, "the customer revoked his authorisation", "D"),
    Refusal("revocation_of_all_authorizations", HARD, "the customer revoked all authorisations", "D"),
    Refusal("new_account_information_available", HARD, "the card has been replaced", "D"),
    Refusal("invalid_account", HARD, "the account does not exist any more", "D"),
    Refusal("invalid_number", HARD, "the number is wrong", "D"),
    Refusal("incorrect_number", HARD, "the number is wrong", "D"),
    Refusal("incorrect_cvc", HARD, "the CVC is wrong", "D"),
    Refusal("invalid_cvc", HARD, "the CVC is wrong", "D"),
    Refusal("incorrect_zip", HARD, "the postal code is wrong", "D"),
    Refusal("incorrect_address", HARD, "the address is wrong", "D"),
    Refusal("incorrect_pin", HARD, "the PIN is wrong", "D"),
    Refusal("invalid_pin", HARD, "the PIN is wrong", "D"),
    Refusal("pin_try_exceeded", HARD, "the PIN was wrong too often", "D"),
    Refusal("invalid_expiry_month", HARD, "there is no such month", "D"),
    Refusal("invalid_expiry_year", HARD, "there is no such year", "D"),
    Refusal("card_not_supported", HARD, "the card does not do this", "D"),
    Refusal("currency_not_supported", HARD, "the card does not do this currency", "D"),
    Refusal("invalid_amount", HARD, "more than the card may ever pay", "D"),
    Refusal("testmode_decline", HARD, "a test card with a live key, or the other way round", "D"),
    Refusal("live_mode_test_card", HARD, "a test card with a live key", "D"),
    Refusal("bank_account_unusable", HARD, "the bank account cannot be used", "E"),
    Refusal("bank_account_unverified", HARD, "the bank account was not verified", "E"),
    Refusal("bank_account_restricted", HARD, "the bank account does not take debits", "E"),
    Refusal("account_closed", HARD, "the bank account is closed", "E"),
    Refusal("payment_intent_mandate_invalid", HARD, "there is no mandate for the bank account", "E"),
    Refusal("payment_method_invalid_parameter", HARD, "the instrument lacks something", "E"),
    Refusal("payment_method_unactivated", HARD, "the Stripe account does not take this kind of instrument", "E"),
    Refusal("payment_method_unexpected_state", HARD, "the instrument was used up", "E"),
    Refusal("payment_method_customer_decline", HARD, "the customer declined", "E"),
    # The request will never be right: retries send the same.
    Refusal("resource_missing", HARD, "no such record of this key", "E"),
    Refusal("amount_too_large", HARD, "the amount is too large", "E"),
    Refusal("amount_too_small", HARD, "the amount is too small", "E"),
    Refusal("parameter_invalid_integer", HARD, "the amount is invalid", "E"),
    Refusal("parameter_unknown", HARD, "Stripe does not know a parameter", "E"),
    Refusal("payment_intent_invalid_parameter", HARD, "a parameter is not allowed", "E"),
    Refusal("payment_intent_incompatible_payment_method", HARD, "the instrument does not fit", "E"),
    Refusal("no_account", HARD, "there is no such bank account", "E"),
    Refusal("transfers_not_allowed", HARD, "the account may not make transfers", "E"),
    Refusal("account_invalid", HARD, "the connected account is not this company's", "E"),
    # The charge cannot be given back.
    Refusal("charge_already_refunded", HARD, "all of it was refunded", "E"),
    Refusal("charge_disputed", HARD, "the customer's bank took the money back", "E"),
    Refusal("payment_intent_unexpected_state", HARD, "the payment has not succeeded", "E"),
    # This adapter's own.
    Refusal("invalid_request", HARD, "Stripe refuses the request without a code: a refund above what is left", "ours"),
    Refusal("requires_action", HARD, "the customer has to act; the payment was canceled", "ours"),
    Refusal("requires_payment_method", SOFT, "the payment failed, and Stripe does not say why", "ours"),
    Refusal("canceled", HARD, "somebody canceled the payment", "ours"),
    Refusal("invalid_uri", HARD, "a stored URI is not one of Stripe", "ours"),
)

if __name__ == "__main__":
    print(REFUSALS.markdown())
