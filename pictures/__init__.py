"""Pictures for people: contact sheets and diagrams, as float arrays [H, W, 3] in 0..1."""
