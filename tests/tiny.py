"""The smallest network that is still a network: for tests that train or draw."""

NETWORK = {
    "width": 8,
    "blocks": 1,
    "attention_levels": (),
    "mid_attention": False,
    "latent_channels": 8,
    "code_dim": 4,
    "groups": 4,
}
