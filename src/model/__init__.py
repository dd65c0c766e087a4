"""From arrays to a network: backbones, weights, feeding, fitting, saving. Knows only shards."""
