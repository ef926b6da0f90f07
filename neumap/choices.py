"""What users choose from, for help texts, which import nothing that takes time to load."""

# what a map can be made for; the first one unless another is asked for
DECODERS = ("transformer", "nearest", "scratch", "both")
