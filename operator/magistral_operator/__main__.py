"""Entry: `python -m magistral_operator`."""

from magistral_operator.main import main

main()
