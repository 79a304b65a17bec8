"""Section 3 of the recipe as pure functions: text in, parts of a reward out. At most 1.1 in total.

`grade` puts them together. What must run hostile text (code, computer algebra) is asked of a box,
passed in.
"""
