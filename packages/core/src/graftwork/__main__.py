"""``python -m graftwork``, which ``torchrun`` can launch."""

import sys

from graftwork.current_folder import leave_out_of_dash_m

if __name__ == "__main__":
    leave_out_of_dash_m()

    from graftwork.cli import main

    sys.exit(main())
