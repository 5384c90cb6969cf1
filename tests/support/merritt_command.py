# SPDX-License-Identifier: Apache-2.0
"""Where the built `merritt` command is, for the tests that run it."""
from __future__ import annotations

import os
import pathlib
import subprocess
from typing import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("MERRITT_PROGRAM", ROOT / "build" / "bin" / "merritt"))
Merritt = Callable[..., "subprocess.CompletedProcess[bytes]"]
