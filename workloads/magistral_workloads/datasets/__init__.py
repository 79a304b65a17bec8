"""Files of problems, ours and those that the field publishes, to `Problem`s (docs/data.md).

One file a published set; `formats` names them all, `reader` reads an object of the store.
"""
