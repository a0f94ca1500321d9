"""The open head: a head generated from code, free of any licence (CC0-1.0). ``python -m facezoo.heads.open`` builds it."""
