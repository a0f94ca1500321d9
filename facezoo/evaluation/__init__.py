"""Numbers a person can repeat: accuracy on annotated photographs and speed on this machine."""
