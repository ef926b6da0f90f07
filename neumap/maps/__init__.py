"""The map in memory and in a file."""

# DECODERS: kinds of codes of landmarks, the default first. LATENT: latents of the frozen decoder that ships with the
# package; DESCRIPTOR: product-quantized descriptors.
DECODERS = LATENT, DESCRIPTOR = "latent", "descriptor"
