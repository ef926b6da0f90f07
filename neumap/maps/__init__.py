"""The map in memory and in a file."""

# DECODERS: what finds the coordinates of keypoints by a map's codes, the default first. LATENT: the frozen decoder that
# ships with the package, whose latents the codes are; DESCRIPTOR: codes are product-quantized descriptors.
DECODERS = LATENT, DESCRIPTOR = "latent", "descriptor"
