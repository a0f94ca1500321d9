"""Pictures in, samples out: reading images and datasets, shards of synthetic people, augmentation."""
