"""`python -m zoo_cli`, which torchrun needs to start several processes."""

import sys

from zoo_cli.main import main

sys.exit(main())
