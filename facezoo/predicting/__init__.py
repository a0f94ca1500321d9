"""Whole folders of pictures, over processes and machines, from where the last run stopped."""
