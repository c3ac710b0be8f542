"""``python -m graftwork``, which ``torchrun`` can launch."""

import sys

from graftwork.cli import main

if __name__ == "__main__":
    sys.exit(main())
