"""What torchrun is told by a process that ends with a mistake, so that its report ends with the sentence.

torchrun names a file to each process (``TORCHELASTIC_ERROR_FILE``), and shows what is in that of the first to
fail. The files of the processes of one machine lie in a common folder, by which a sentence that all have to
say is said once.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path


def tell_launcher(sentence: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Leave a sentence for torchrun, where this process is one of its.

    Args:
        sentence: for people.
        environment: of the process.

    Returns:
        Whether this process is to say it: False where another on this machine has said the same.
    """
    name = environment.get("TORCHELASTIC_ERROR_FILE")
    if not name:
        return True
    file = Path(name)
    told = {"message": sentence, "extraInfo": {"py_callstack": sentence, "timestamp": str(int(time.time()))}}
    said = file.parent.parent / f"graftwork-said-{hashlib.sha256(sentence.encode()).hexdigest()[:16]}"
    try:
        file.write_text(json.dumps({"message": told}), encoding="utf-8")
        said.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # it is told by the exit code, and here
        return True
    return True
