"""Pure functions of the recipe: no network, no files, no clock."""
