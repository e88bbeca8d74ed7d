"""What methods share that work in the latent space of a generative model: finding latents, drawing them, walking between."""
