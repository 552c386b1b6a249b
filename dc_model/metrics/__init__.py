"""FVD, KVD and PIC, the paper's measures, and the networks that they read features with."""
