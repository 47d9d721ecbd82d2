"""``python -m captum_cnn_ext``: the command line."""

import sys

from captum_cnn_ext.cli import main

if __name__ == "__main__":
    sys.exit(main())
