"""What surrounds the network: the autoencoder and the two CLIP towers."""
