"""``python -m molvae``."""

from molvae.cli import main

main()
