"""`python -m actsmith`."""

import sys

from actsmith.cli import main

sys.exit(main())
