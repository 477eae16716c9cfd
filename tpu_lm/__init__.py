"""tpu_lm: pretrain language models in JAX, and keep pretraining them."""
