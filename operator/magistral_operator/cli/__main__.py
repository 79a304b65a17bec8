"""Entry: `python -m magistral_operator.cli`."""

import sys

from magistral_operator.cli import main

sys.exit(main())
