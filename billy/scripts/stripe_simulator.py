"""``billy stripe-simulator``: the processor that ``make demo PROCESSOR=stripe`` plays against."""

from __future__ import annotations

from billy.scripts.simulators import simulator_command
from billy.testing.stripe_simulator import StripeSimulator

stripe_simulator = simulator_command("stripe-simulator", "Stripe", StripeSimulator, 6545)
