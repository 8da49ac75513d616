"""`python -m intake_api.cli`: the program, for when its script is not on the path."""

from intake_api.cli.main import main

main()
