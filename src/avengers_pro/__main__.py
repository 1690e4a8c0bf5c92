"""``python -m avengers_pro`` is the same program as ``avengers-pro``."""

from avengers_pro.cli.main import main

main()
