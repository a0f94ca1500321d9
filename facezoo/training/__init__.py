"""Training: Lightning wrapped around any method, with resumable runs and exported weights."""
