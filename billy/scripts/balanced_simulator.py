"""``billy balanced-simulator``: the processor that ``make run PROCESSOR=balanced`` runs Billy against."""

from __future__ import annotations

from billy.scripts.simulators import simulator_command
from billy.testing.balanced_simulator import BalancedSimulator

balanced_simulator = simulator_command("balanced-simulator", "Balanced Payments", BalancedSimulator, 6544)
