"""``python -m unrolled`` is ``unrolled``."""

from __future__ import annotations

import sys

from unrolled.cli.main import main

sys.exit(main())
