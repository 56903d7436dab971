"""The only room that knows ComfyUI; `host` is the protocol that nodes speak, whichever host runs them."""
