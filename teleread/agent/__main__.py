"""``python -m teleread.agent``, and what ``teleread-agent.pyz`` runs."""

from __future__ import annotations

import sys

from teleread.agent.main import main

sys.exit(main())
