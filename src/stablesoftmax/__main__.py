"""`python -m stablesoftmax`."""

import sys

from .cli import main

sys.exit(main())
