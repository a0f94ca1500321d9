"""The methods: one package each, with its configuration, its network and what training and prediction need of it."""
