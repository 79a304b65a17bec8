"""The operator: watches wake a queue, a pure function plans, server-side apply acts."""
