"""What stops a command."""


class CommandError(Exception):
    """A command cannot go on. Each line names file or object, field, found, expected, and what to do."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
