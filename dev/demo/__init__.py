"""The demo: its data, its installation, its progress display and its closing table."""
