"""CompVis/taming-transformers and latent-diffusion: see member.py."""
