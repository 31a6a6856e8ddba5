"""Public checkpoints as teachers: how one is named, what its file holds, where its weights go.

``names`` parses ``FILE?branch=ema&groups=128``, ``reading`` opens the file without running anything in it, ``layouts`` is the
table of public key layouts, ``building`` makes the encoder. Only ``names`` is free of torch, as hashing a teacher must stay
cheap, so nothing is imported here.
"""
