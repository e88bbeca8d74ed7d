"""What methods share that translate images from one class to another: which image is of which, pairs, adversarial training."""
