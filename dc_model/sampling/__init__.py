"""From noise to latents: schedules, DDIM, guidance, the start of the noise."""
