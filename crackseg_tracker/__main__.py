"""``python -m crackseg_tracker`` is ``crackseg-tracker``."""

from crackseg_tracker.cli import main

main()
